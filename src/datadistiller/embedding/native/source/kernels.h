// The arithmetic of the encoder, as a table of functions. Each set of kernels gives the same bits: sums of floats are
// taken in LANES partial sums that are then folded in halves, every multiplication that feeds an addition is fused or
// not as `reference.cpp` has it, and integers are exact. So a vector depends on its text and the weights alone.
#pragma once

#include "layout.h"

namespace dd {

// Rows of activations in eight bits: x = (q - zero) * scale, chosen from the range of each row.
struct Quantized {
    uint8_t* values;  // [rows][width]
    float* scales;    // [rows]
    float* zeros;     // [rows]
    size_t width;

    Quantized from(size_t row) const { return {values + row * width, scales + row, zeros + row, width}; }
};

enum class Finish {
    PLAIN,     // out = y
    RESIDUAL,  // out = out + y
    GELU       // out = gelu(y)
};

// Room for the attention of one head over one text, for one thread.
struct AttentionRoom {
    size_t pitch;        // tokens, rounded up to TILE_OUTPUTS
    uint8_t* queries;    // [pitch][head], 128 added
    float* query_scales; // [pitch], with the factors that make exp a power of two
    int8_t* keys;        // packed as a panel of `pitch` outputs and `head` inputs
    float* key_scales;   // [pitch]
    float* key_masks;    // [pitch] 0, or a score that is never chosen where there is no token, and anything for a key
    int32_t* key_sums;   // [pitch] -128 times the sum of the key
    int8_t* values;      // head / 32 panels of 32 outputs and `pitch` inputs
    float* value_scales; // [head]
    float* scores;       // [TILE_TOKENS][pitch]
    uint8_t* chances;    // [TILE_TOKENS][pitch] softmax in eight bits
};

struct Kernels {
    const char* name;

    // row = word * scale + position
    void (*embed)(const int8_t* word, float scale, const float* position, size_t dim, float* row);

    // Layer norm of `count` rows, in place, and of what it leaves into the first rows of `out`.
    void (*normalize)(float* rows, size_t count, const Norm& norm, float epsilon, const Quantized& out);

    // `count` rows, `pitch` floats apart, into the first rows of `out`.
    void (*quantize)(const float* rows, size_t count, size_t pitch, const Quantized& out);

    // `rows` rows through a layer.
    void (*linear)(const Quantized& in, size_t rows, const Linear& layer, Finish finish, float* out);

    // One head of one text: `qkv` is its first token's queries, [tokens][3 dim]; the result replaces the queries.
    void (*attend)(float* qkv, size_t tokens, size_t dim, size_t head, const AttentionRoom& room);

    // sum += row
    void (*add)(const float* row, size_t dim, float* sum);
};

// gelu(x) in segments n = -15 to 15 of .27, the middle one around 0: c[0] + x (c[1] + x c[2]), c of column n modulo 32.
extern const float GELU_TABLE[3][32];
constexpr float GELU_END = 4.15f, GELU_SEGMENTS = 3.7037037f;  // where the last segments are entered at the latest; per unit
constexpr float LOWEST_BITS = 12582912.f;  // 1.5 * 2^23: added to a small number, it leaves the nearest whole one there

// Sets of kernels; null where they were not compiled. `reference` is plain loops, for tests.
const Kernels* reference_kernels();
const Kernels* avx2_kernels();
const Kernels* avx_vnni_kernels();
const Kernels* avx512_vnni_kernels();
const Kernels* neon_dot_kernels();

// The kernels of that name ("reference", "avx2", "avx-vnni", "avx512-vnni", "neon-dot"), or the fastest for "auto"; null
// if this processor or this build has no such kernels.
const Kernels* kernels_named(const char* name);

}  // namespace dd
