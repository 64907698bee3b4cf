"""The memory of programs that tests start."""


def peak_memory():
    """The most bytes that this process has had at once, of Linux. (Of what getrusage tells, a
    process begins with the most of the one that started it.)"""
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))
