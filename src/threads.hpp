// OpenMP's threads, where there is OpenMP, and their end before a fork.
#pragma once

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(_OPENMP) && !defined(_WIN32)
#include <pthread.h>
#endif

namespace metaopt {

#if defined(_OPENMP)
constexpr bool METAOPT_OPENMP = true;
inline int metaopt_max_threads() { return omp_get_max_threads(); }
inline int metaopt_processors() { return omp_get_num_procs(); }
#else
constexpr bool METAOPT_OPENMP = false;
inline int metaopt_max_threads() { return 1; }
inline int metaopt_processors() { return 1; }
#endif

// Of OpenMP 5.0 (201811); libgomp has it since gcc 9, which calls itself 4.5.
#if defined(_OPENMP) && !defined(_WIN32) && (_OPENMP >= 201811 || __GNUC__ >= 9)
inline void metaopt_release_threads() { omp_pause_resource_all(omp_pause_hard); }
// A child of fork() inherits libgomp's list of threads without the threads, and waits for them for
// ever in its first parallel region. Ended beforehand, they are made anew on both sides.
inline int metaopt_release_threads_at_fork() {
    return pthread_atfork(metaopt_release_threads, nullptr, nullptr);
}
#else
inline int metaopt_release_threads_at_fork() { return 0; }
#endif

}  // namespace metaopt
