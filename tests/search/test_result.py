"""What a search hands out: results that can be merged, kept, read, shown and drawn."""

import io
import json
import math
import os
import random
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
from evolutions import run as evolution
from searches import LossesByNumber, digest, numbers, objective

import metaopt_fast as mf
from metaopt_fast.files.archive import write_arrays


def search(start=0, n_candidates=1000, **options):
    return mf.random_search(
        objective(), mf.Normal(), n_candidates, start=start, **{"top_k": 3, **options}
    )


# ------------------------------------------------------------------------------------------ merging


def test_what_is_not_a_shard_of_the_same_search_is_not_merged():
    other_data = mf.LogisticLoss(np.eye(8)[:, :7], [0, 1] * 4, l2=1e-3, fit_intercept=True)
    others = {
        "seed": search(1000, seed=1),
        "top_k": search(1000, top_k=4),
        "sampler": mf.random_search(objective(), mf.Normal(scale=2), 1000, start=1000, top_k=3),
        "n_params": mf.random_search(mf.LogisticLoss([[1], [2]], [0, 1]), mf.Normal(), 9, top_k=3),
        "fingerprint": mf.random_search(other_data, mf.Normal(), 1000, start=1000, top_k=3),
    }
    for name, other in others.items():
        with pytest.raises(ValueError, match=r"results differ in .*: pass shards of one search\."):
            mf.merge_results([search(), other])
        assert search().config[name] != other.config[name]


def test_overlapping_results_are_not_merged():
    with pytest.raises(ValueError, match="candidates 900 to 999 are in more than one result"):
        mf.merge_results([search(900), search(0)])
    with pytest.raises(ValueError, match="more than one result"):
        mf.merge_results([search(), search()])
    with pytest.raises(ValueError, match="candidates 100 to 199 are in more than one result"):
        mf.merge_results([search(0, 1000), search(100, 100)])


@pytest.mark.parametrize("results", [[], [1], None, 3, "results"])
def test_what_is_no_result_is_not_merged(results):
    with pytest.raises((ValueError, TypeError)) as caught:
        mf.merge_results(results)
    assert str(caught.value).endswith(".")


def test_a_merged_result_says_which_candidates_are_missing():
    merged = mf.merge_results([search(5000), search(0), search(1000)])
    assert merged.ranges == ((0, 2000), (5000, 6000))
    assert merged.n_evaluated == 3000
    assert (merged.config["start"], merged.config["n_candidates"]) == (0, 6000)
    assert merged.elapsed > 0 and merged.stopped_by is None


def test_shards_of_a_callable_and_of_an_objective_of_ones_own_are_merged_too():
    losses = np.random.default_rng(0).normal(size=900)
    objective = LossesByNumber(losses)
    parts = [
        mf.random_search(objective, numbers, 300, start=start, top_k=2) for start in (0, 300, 600)
    ]
    random.Random(0).shuffle(parts)
    whole = mf.random_search(LossesByNumber(losses), numbers, 900, top_k=2)
    assert digest(mf.merge_results(parts)) == digest(whole)


# ----------------------------------------------------------------------------------- files and JSON


def test_a_saved_result_is_loaded_as_it_was(tmp_path):
    result = search(metadata={"file": "d\u00e9mo.csv"})
    path = tmp_path / "result"
    result.save(path)
    again = mf.SearchResult.load(str(path))
    assert digest(again) == digest(result)
    assert again.to_dict() == result.to_dict()
    assert repr(again) == repr(result)


def test_a_saved_result_holds_no_pickle(tmp_path):
    search().save(tmp_path / "result.npz")
    with np.load(tmp_path / "result.npz", allow_pickle=False) as arrays:
        assert all(arrays[name].dtype != object for name in arrays)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive",
        b"PK\x03\x04",
        "npy",
        "other npz",
        "object",
        "no config",
        "other top",
    ],
)
def test_what_is_no_result_is_not_loaded(tmp_path, content):
    path = tmp_path / "result.npz"
    good = io.BytesIO()
    search().save(path)
    with np.load(path) as arrays:
        parts = dict(arrays)
    if content == "npy":
        np.save(good, np.zeros(3))
    elif content == "other npz":
        np.savez(good, X=np.zeros(3))
    elif content == "object":
        np.savez(good, **{**parts, "top": np.array([None], object)})
    elif content == "no config":
        np.savez(good, **{**parts, "text": np.array(json.dumps({"ranges": []}))})
    elif content == "other top":
        np.savez(good, **{**parts, "top": np.zeros(3)})
    path.write_bytes(good.getvalue() if isinstance(content, str) else content)
    with pytest.raises(ValueError, match=r"result\.npz does not hold a search result") as caught:
        mf.SearchResult.load(path)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["SearchResult", "EvolveResult"])
def test_saving_touches_no_other_file(tmp_path, kind):
    result = search() if kind == "SearchResult" else evolution("cem", generations=2)
    (tmp_path / "result.npz.new").write_text("precious")
    result.save(tmp_path / "result.npz")
    assert digest(type(result).load(tmp_path / "result.npz")) == digest(result)
    assert (tmp_path / "result.npz.new").read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["result.npz", "result.npz.new"]


# From a link's name to what it leads to, from the folder of the link.
LINKS = {
    "beside": "target",
    "to another folder": "elsewhere/target",
    "absolute": "{}/elsewhere/target",
    "to a link": "second",
    "through a link to a folder": "folder/target",
}


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("kind", ["SearchResult", "EvolveResult"])
@pytest.mark.parametrize("is_dangling", [False, True])
@pytest.mark.parametrize("link", LINKS)
def test_saving_to_a_link_writes_what_it_leads_to(tmp_path, kind, link, is_dangling):
    result = search() if kind == "SearchResult" else evolution("cem", generations=2)
    path, elsewhere = tmp_path / "result.npz", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "second").symlink_to("elsewhere/target")
    (tmp_path / "folder").symlink_to("elsewhere")
    path.symlink_to(LINKS[link].format(tmp_path))
    target = path.resolve()
    if not is_dangling:
        target.write_text("before")
        target.chmod(0o640)
    for _ in range(2):
        before = sorted(tmp_path.rglob("*"))
        result.save(path)
        # Nothing of the writing is left beside the link or the file.
        assert sorted(tmp_path.rglob("*")) == sorted({*before, target})
        assert path.is_symlink() and (tmp_path / "second").is_symlink()
        assert not target.is_symlink()
        assert digest(type(result).load(target)) == digest(result)
        assert digest(type(result).load(path)) == digest(result)
    if not is_dangling:
        assert target.stat().st_mode & 0o777 == 0o640


def test_what_a_link_leads_to_is_whole_or_as_before(tmp_path, monkeypatch):
    target, path = tmp_path / "elsewhere" / "target", tmp_path / "result.npz"
    target.parent.mkdir()
    path.symlink_to(target)
    search().save(path)
    before = target.read_bytes()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"result\.npz could not be written .No space left"):
        search(n_candidates=100).save(path)
    assert target.read_bytes() == before and path.is_symlink()
    assert os.listdir(target.parent) == ["target"]


def test_a_link_that_leads_to_no_place_for_a_file_is_told_why(tmp_path):
    cases = {
        "none/target": rf"there is no directory {tmp_path}/none.: make it, or pass",
        ".": "it is a directory.: pass the path of a file",
        "result.npz": r"Too many levels of symbolic links.: pass a path that can be\.$",
    }
    path = tmp_path / "result.npz"
    for place, sentence in cases.items():
        path.symlink_to(place)
        with pytest.raises(OSError, match=rf"result\.npz could not be written \({sentence}"):
            search().save(path)
        assert path.is_symlink() and os.listdir(tmp_path) == ["result.npz"]
        path.unlink()


def test_a_result_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "result.npz"
    search().save(path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"result\.npz could not be written .No space left"):
        search(n_candidates=100).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["result.npz"]


def test_a_path_that_is_no_place_for_a_result_is_told_why(tmp_path):
    (tmp_path / "file").touch()
    cases = {
        tmp_path / "none" / "a.npz": rf"there is no directory {tmp_path}/none.: make it, or pass",
        tmp_path / "file" / "a.npz": rf"there is no directory {tmp_path}/file.: make it, or pass",
        tmp_path: "it is a directory.: pass the path of a file",
    }
    for path, sentence in cases.items():
        with pytest.raises(OSError, match=sentence) as caught:
            search().save(path)
        assert "space" not in str(caught.value)
        with pytest.raises(OSError, match=sentence) as caught:
            search(checkpoint=path)
        assert "space" not in str(caught.value)
    with pytest.raises(IsADirectoryError, match="is a directory: pass a file"):
        mf.SearchResult.load(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"none\.npz does not exist: pass the path of a file"
    ):
        mf.SearchResult.load(tmp_path / "none.npz")
    assert os.listdir(tmp_path) == ["file"]


def fail(number):
    raise OSError(28, "No space left on device")


def test_members_of_two_results_in_one_file_are_noticed(tmp_path):
    path, parts = tmp_path / "result.npz", []
    for seed in (4, 3):
        search(seed=seed).save(path)
        with np.load(path) as arrays:
            parts.append(dict(arrays))
    np.savez(path, **{**parts[0], "top": parts[1]["top"]})
    with pytest.raises(ValueError, match=r"result\.npz does not hold .* match their digest"):
        mf.SearchResult.load(path)


def test_a_member_that_is_no_array_is_refused(tmp_path):
    path = tmp_path / "result.npz"
    search().save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, b"text" if name == "trace.npy" else content)
    with pytest.raises(ValueError, match=r"result\.npz does not hold .*its trace is no array"):
        mf.SearchResult.load(path)


def test_a_damaged_result_is_refused_or_right(tmp_path):
    path = tmp_path / "result.npz"
    result = search()
    result.save(path)
    content = path.read_bytes()
    rng = random.Random(0)
    for _ in range(300):
        damaged = bytearray(content)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged[: rng.choice([len(damaged), rng.randrange(len(damaged))])])
        try:
            again = mf.SearchResult.load(path)
        except ValueError as error:
            assert "result.npz does not hold" in str(error)
        else:
            assert digest(again) == digest(result) and again.config == result.config


# -------------------------------------------------------------------------------------- permissions


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o666, 0o400])
@pytest.mark.parametrize("kind", ["SearchResult", "EvolveResult", "link"])
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path, mode, kind):
    result = evolution("cem", generations=2) if kind == "EvolveResult" else search()
    path = tmp_path / "result.npz"
    target = tmp_path / "target" if kind == "link" else path
    target.touch()
    target.chmod(mode)
    if kind == "link":
        path.symlink_to(target)
    seen, replace = [], os.replace

    def look(source, place):
        seen.append(os.stat(source).st_mode & 0o777)
        replace(source, place)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", look)
        result.save(path)
    assert seen == [mode] == [path.stat().st_mode & 0o777]


def test_a_new_file_has_the_permissions_of_new_files(tmp_path):
    before = os.umask(0o027)
    try:
        search().save(tmp_path / "result.npz")
    finally:
        os.umask(before)
    assert (tmp_path / "result.npz").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives files away")
def test_a_file_that_is_replaced_stays_its_owners(tmp_path):
    path = tmp_path / "result.npz"
    path.touch()
    os.chown(path, 1234, 4321)
    search().save(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)


def test_where_the_group_cannot_be_kept_no_other_group_may_read(tmp_path, monkeypatch):
    def refuse(descriptor, user, group):
        raise PermissionError(1, "Operation not permitted")

    path = tmp_path / "result.npz"
    path.touch()
    path.chmod(0o660)
    monkeypatch.setattr(os, "fchown", refuse)
    search().save(path)
    assert path.stat().st_mode & 0o777 == 0o600


# ------------------------------------------------------------------------------------------- forged


def parts(result):
    arrays = {name: getattr(result, name).copy() for name in result._arrays}
    rest = {name: getattr(result, name) for name in result._rest}
    return arrays, json.loads(json.dumps(rest))


RESULTS = {
    mf.SearchResult: ("search result", "does not hold a search result"),
    mf.EvolveResult: ("result", "does not hold a result of evolve"),
}


def assert_refused(path, kind):
    with pytest.raises(ValueError, match=RESULTS[kind][1]) as caught:
        kind.load(path)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("claims", [{"compression": zipfile.ZIP_DEFLATED}, {"shape": (2**40,)}])
@pytest.mark.parametrize("kind", RESULTS)
def test_an_array_that_unpacks_to_more_than_the_file_takes_no_memory(tmp_path, kind, claims):
    path, size = tmp_path / "result.npz", 2**26
    header = {"descr": "|u1", "fortran_order": False, "shape": claims.get("shape", (size,))}
    text = json.dumps({"kind": RESULTS[kind][0], "format": 1, "rest": {}})
    with zipfile.ZipFile(path, "w", claims.get("compression", zipfile.ZIP_STORED)) as archive:
        for name, array in (("text", np.array(text)), ("digest", np.array("x"))):
            content = io.BytesIO()
            np.save(content, array)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue())
        with archive.open("top.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)
            file.write(bytes(size if "compression" in claims else 100))
    tracemalloc.start()
    try:
        assert_refused(path, kind)
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", RESULTS)
def test_a_result_without_a_configuration_is_refused(tmp_path, kind):
    path = tmp_path / "result.npz"
    result = search() if kind is mf.SearchResult else evolution("cem", generations=2)
    write_arrays(str(path), RESULTS[kind][0], parts(result)[0], [])
    assert_refused(path, kind)


@pytest.mark.parametrize("kind", RESULTS)
def test_an_array_that_is_shorter_than_the_file_says_is_refused(tmp_path, kind):
    path = tmp_path / "result.npz"
    result = search() if kind is mf.SearchResult else evolution("cem", generations=2)
    result.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    size = len(members["top.npy"])
    members["top.npy"] = members["top.npy"][:-8]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"top.npy") - 46  # in the directory: a header of so many bytes, the name
    assert content[entry : entry + 4] == b"PK\x01\x02"
    content[entry + 24 : entry + 28] = size.to_bytes(4, "little")
    path.write_bytes(content)
    assert_refused(path, kind)


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize(
    "change",
    [
        lambda arrays, rest: rest.clear(),
        lambda arrays, rest: rest.update(config=3),
        lambda arrays, rest: rest.update(config={}),
        lambda arrays, rest: rest["config"].update(n_params="8"),
        lambda arrays, rest: rest["config"].update(n_params=9),
        lambda arrays, rest: rest["config"].update(top_k=-1),
        lambda arrays, rest: rest["config"].update(sampler=3, method=3),
        lambda arrays, rest: rest.update(elapsed="long"),
        lambda arrays, rest: rest.update(elapsed=-1.0),
        lambda arrays, rest: rest.update(elapsed=math.nan),
        lambda arrays, rest: rest.update(stopped_by=3),
        lambda arrays, rest: rest.update(stopped_by="\x1b[31mred"),
        lambda arrays, rest: rest.update(stopped_by=["interrupt"]),
        lambda arrays, rest: rest.pop("stopped_by"),
        lambda arrays, rest: rest["config"].update(sampler=3, method="\x1b[31mcem"),
        lambda arrays, rest: arrays.update(top=arrays["top"]["loss"]),
        lambda arrays, rest: arrays.update(top=arrays["top"][:0], top_thetas=np.empty((0, 8))),
        lambda arrays, rest: arrays.update(top_thetas=arrays["top_thetas"][:, 1:]),
        lambda arrays, rest: arrays.update(top_thetas=arrays["top_thetas"].astype(str)),
        lambda arrays, rest: arrays["top_thetas"].fill(math.nan),
        lambda arrays, rest: arrays.update(trace=arrays["trace"][:, None]),
        lambda arrays, rest: arrays.update(trace=np.zeros(3)),
    ],
)
@pytest.mark.parametrize("kind", RESULTS)
def test_a_forged_result_is_refused(tmp_path, kind, change):
    result = search() if kind is mf.SearchResult else evolution("cem", generations=2)
    path = tmp_path / "result.npz"
    arrays, rest = parts(result)
    write_arrays(str(path), RESULTS[kind][0], arrays, rest)
    assert kind.load(path).to_dict() == result.to_dict()
    change(arrays, rest)
    write_arrays(str(path), RESULTS[kind][0], arrays, rest)
    assert_refused(path, kind)


@pytest.mark.parametrize(
    "ranges", [3, [], [3], [[0]], [[0, "1"]], [[5, 5]], [[-1, 5]], [[0, 9], [3, 12]], [[0, 2**64]]]
)
def test_forged_ranges_are_refused(tmp_path, ranges):
    arrays, rest = parts(search())
    write_arrays(str(tmp_path / "r"), "search result", arrays, {**rest, "ranges": ranges})
    assert_refused(tmp_path / "r", mf.SearchResult)


@pytest.mark.parametrize("index", [-1, 10**6, 2**63 - 1])
@pytest.mark.parametrize("name", ["top", "trace"])
def test_a_candidate_that_was_not_evaluated_is_refused(tmp_path, name, index):
    arrays, rest = parts(search())
    arrays[name]["index"][0] = index
    write_arrays(str(tmp_path / "r"), "search result", arrays, rest)
    assert_refused(tmp_path / "r", mf.SearchResult)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "3", '{"kind": "result"}', "no JSON"])
@pytest.mark.parametrize("kind", RESULTS)
def test_a_forged_text_is_refused(tmp_path, kind, text):
    path = tmp_path / "result.npz"
    np.savez(path, text=np.array(text), digest=np.array("x"))
    os.rename(path, tmp_path / "result")
    assert_refused(tmp_path / "result", kind)


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        mf.SearchResult.load(tmp_path / "nothing.npz")
    with pytest.raises(FileNotFoundError):
        search().save(tmp_path / "no folder" / "result.npz")


RATES = {"learning_rate": mf.Uniform(0.1, 1)}


@pytest.mark.parametrize(
    ("result", "kept"),
    [
        (lambda: search(n_candidates=50), lambda found: found.top_thetas[0]),
        (
            lambda: mf.merge_results([search(0, 50), search(50, 50)]),
            lambda found: found.top_thetas[0],
        ),
        (lambda: evolution("cem", generations=2), lambda found: found.top_thetas[0]),
        (
            lambda: mf.search_descents(
                objective(), RATES, 4, validation=objective(l2=0.0), max_iter=2
            ),
            lambda found: found.runs.theta[0],
        ),
    ],
    ids=["random_search", "merge_results", "evolve", "search_descents"],
)
def test_writing_to_the_best_theta_changes_nothing_else(result, kept):
    found = result()
    before = found.theta.tolist()
    found.theta[:] = 9.0
    assert found.theta.tolist() == kept(found).tolist() == before


def test_writing_to_one_of_many_descents_changes_nothing_else():
    runs = mf.gradient_descent(objective(), np.zeros((2, 8)), max_iter=2)
    before = runs.theta.tolist(), runs.trace.tolist()
    runs[0].theta[:] = runs[0].trace[:] = 9.0
    assert (runs.theta.tolist(), runs.trace.tolist()) == before


def test_what_a_callback_writes_to_its_result_is_not_in_the_last_one(monkeypatch):
    monkeypatch.setattr("metaopt_fast.search.random_search.CALLBACK_INTERVAL", 0.0)
    monkeypatch.setattr("metaopt_fast.evolution.run.CALLBACK_INTERVAL", 0.0)
    seen = []

    def scribble(result):
        seen.append(result)
        for name in ("top", "top_thetas", "trace"):
            getattr(result, name)[:] = 0
        for entry in result.config.values():
            if isinstance(entry, dict):
                entry.clear()

    for run in (search, lambda **options: evolution("snes", **options)):
        found, wanted = run(callback=scribble), run()
        assert digest(found) == digest(wanted) and found.config == wanted.config
    assert len(seen) > 2


def test_a_result_is_plain_data_for_json():
    plain = json.loads(json.dumps(search().to_dict()))
    assert plain["n_evaluated"] == 1000
    assert plain["top"][0] == {
        "index": plain["index"],
        "loss": plain["loss"],
        "theta": plain["theta"],
    }
    assert plain["config"]["sampler"] == {"name": "Normal", "loc": 0.0, "scale": 1.0}


def test_the_repr_fits_on_a_screen():
    result = search(top_k=500)
    lines = repr(result).splitlines()
    assert len(lines) <= 12 and max(map(len, lines)) <= 100
    assert f"{result.index:,}" in repr(result) and "1,000 candidates" in repr(result)


def test_the_repr_shows_a_short_theta_whole():
    found = mf.random_search(mf.LogisticLoss(np.eye(3), [1, 1, 0]), mf.Normal(), 500)
    shown = ", ".join(f"{value:.6g}" for value in found.theta)
    assert f"  theta       [{shown}]\n" in repr(found) + "\n"


def test_the_repr_shows_the_few_numbers_that_a_sparse_theta_has():
    objective = mf.LogisticLoss(np.eye(9)[[4, 4, 7]], [1, 1, 0], fit_intercept=True)
    found = mf.random_search(objective, mf.Integers(-2, 2, max_nonzero=2), 500)
    used = np.flatnonzero(found.theta)
    assert 0 < len(used) <= 2
    shown = ", ".join(f"{j}: {found.theta[j]:g}" for j in used)
    assert f"  theta       [{shown}], 0 elsewhere\n" in repr(found) + "\n"


# ----------------------------------------------------------------------------------------- pictures


def test_pictures_are_drawn_on_axes_given_or_new():
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    result = search(start=10**6, top_k=20)
    _, given = pyplot.subplots()
    for plot, label in ((result.plot_trace, "best loss"), (result.plot_top, "loss")):
        assert plot(given) is given
        ax = plot()
        assert ax is not given and ax.get_ylabel() == label
        pyplot.close(ax.figure)
    trace = result.plot_trace().lines[0]
    assert trace.get_xdata()[0] == 1 and trace.get_xdata()[-1] == 1000
    assert trace.get_ydata()[-1] == result.loss
    pyplot.close("all")


@pytest.mark.parametrize("name", ["plot_trace", "plot_top"])
def test_without_matplotlib_the_extra_is_named(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        ImportError, match=rf"{name} needs matplotlib: pip install 'metaopt_fast\[plot\]'"
    ):
        getattr(search(), name)()


# ----------------------------------------------------------------------------------------- progress


def test_progress_is_silent_where_stderr_is_no_terminal(shards_of_256, capsys):
    search(progress=True)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("installed", [True, False])
def test_progress_tells_rates_and_the_best_loss(shards_of_256, capsys, monkeypatch, installed):
    if not installed:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    result = search(progress="always", n_candidates=20_000)
    out, err = capsys.readouterr()
    assert out == ""
    assert "pairs/s" in err and f"best {result.loss:.8g}" in err
    assert "cand" in err and "100" in err and err.endswith("\n")


def test_progress_of_an_objective_without_rows_tells_candidates_alone(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    mf.random_search(LossesByNumber([2.0, 1.0]), numbers, 10, progress="always")
    err = capsys.readouterr().err
    assert "candidates/s" in err and "pairs/s" not in err


def test_progress_without_a_stderr_is_silent(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert search(progress=True).n_evaluated == 1000


def test_optional_and_heavy_modules_are_imported_when_needed(run_python):
    program = (
        "import sys, numpy; before = set(sys.modules); import metaopt_fast;"
        "print(sorted({'sqlite3', 'concurrent.futures', 'matplotlib', 'tqdm', 'hashlib', 'zipfile'}"
        " & (set(sys.modules) - before)))"
    )
    assert run_python(program).stdout.strip() == "[]"
