// Which kernels this processor can run.
#include <cstring>

#include "kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace dd {
namespace {

#if defined(__x86_64__)
// The compiler's own test also asks whether the operating system saves the wide registers.
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

bool has_avx_vnni() {
    unsigned eax, ebx, ecx, edx;
    return has_avx2() && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax >> 4 & 1);
}

bool has_avx512_vnni() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}
#elif defined(__aarch64__) && defined(__linux__)
bool has_neon_dot() {
    constexpr unsigned long DOT_PRODUCT = 1ul << 20;  // HWCAP_ASIMDDP, which older headers do not name
    return getauxval(AT_HWCAP) & DOT_PRODUCT;
}
#endif

}  // namespace

const Kernels* kernels_named(const char* name) {
    const bool any = strcmp(name, "auto") == 0;
#if defined(__x86_64__)
#if !defined(DD_WITHOUT_AVX512_VNNI)
    if ((any || strcmp(name, "avx512-vnni") == 0) && has_avx512_vnni()) return avx512_vnni_kernels();
#endif
#if !defined(DD_WITHOUT_AVX_VNNI)
    if ((any || strcmp(name, "avx-vnni") == 0) && has_avx_vnni()) return avx_vnni_kernels();
#endif
#if !defined(DD_WITHOUT_AVX2)
    if ((any || strcmp(name, "avx2") == 0) && has_avx2()) return avx2_kernels();
#endif
#elif defined(__aarch64__) && defined(__linux__) && !defined(DD_WITHOUT_NEON_DOT)
    if ((any || strcmp(name, "neon-dot") == 0) && has_neon_dot()) return neon_dot_kernels();
#endif
    if (strcmp(name, "reference") == 0) return reference_kernels();
    return nullptr;
}

}  // namespace dd
