// The kernels for AVX-512 (F, DQ and VL): Intel from Skylake-SP (2017), AMD from Zen 4 (2022).
#if defined(__x86_64__)
#if defined(__GNUC__) && !defined(__clang__)
// gcc 12 warns of its own header: intrinsics start from a vector that is undefined on purpose.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512vl,avx2,fma")
#endif
#define MF_ISA avx512
#define MF_BYTES 64
#include "isa.hpp"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
#include "kernels.hpp"
extern "C" const metaopt::Kernels *metaopt_kernels_avx512(int, int) { return nullptr; }
#endif
