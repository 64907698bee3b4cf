// The kernels for AVX2 with FMA: Intel from Haswell (2013), AMD from Excavator (2015).
#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#define MF_ISA avx2
#define MF_BYTES 32
#include "isa.hpp"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
#include "kernels.hpp"
extern "C" const metaopt::Kernels *metaopt_kernels_avx2(int, int) { return nullptr; }
#endif
