// The kernels for what every processor of this architecture has, and the question which of the
// other files this processor can run.
#define MF_ISA baseline
#define MF_BYTES 16
#include "isa.hpp"

// 1 where `isa` was compiled, and processor and operating system support it.
extern "C" int metaopt_supports(const char *isa) {
    if (!__builtin_strcmp(isa, "baseline")) return 1;
#if defined(__x86_64__)
    __builtin_cpu_init();
    const int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (!__builtin_strcmp(isa, "avx2")) return avx2;
    if (!__builtin_strcmp(isa, "avx512"))
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl");
#endif
    return 0;
}
