// The kernels for processors with AVX-512 and VNNI (Ice Lake, Zen 4 and later).
#include "kernels_shared.h"
#include "simd_avx512.h"

namespace dd {

const Kernels* avx512_vnni_kernels() {
    static constexpr Kernels kernels = kernels_of<Avx512>("avx512-vnni");
    return &kernels;
}

}  // namespace dd
