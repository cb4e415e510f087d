// What a weights file holds, and how a matrix lies in it. The one place where this is explained; Python's side of it is
// `embedding/weights.py`.
//
// The file, little-endian. Every part starts at a multiple of 64 bytes, and all offsets follow from the header's shape:
//
//     Header                         256 bytes: magic, version, shape, size of the rest, CRC-32 of all (with 0 in its
//                                    own place), name
//     words          int8  [vocabulary][dim]       one scale per word
//     word_scales    float [vocabulary]
//     positions      float [positions][dim]        the embedding of token type 0 is added in; a model that scores pairs
//                                                  has them once more, with that of type 1
//     norm           float gain[dim], bias[dim]
//     layer 0..n-1:  attention_in    Linear dim -> 3 dim  (queries, keys, values one after the other)
//                    attention_out   Linear dim -> dim
//                    norm            float gain[dim], bias[dim]
//                    inner           Linear dim -> inner
//                    outer           Linear inner -> dim
//                    norm            float gain[dim], bias[dim]
//     if it scores:  pooler         Linear dim -> dim
//                    classifier     float weights[dim], bias[1]
//
//     a Linear K -> N:  packed int8 [K*N], scales float[N], sums float[N], bias float[N]
//
// Packed weights. The matrix W[N outputs][K inputs] is cut into panels of 64 outputs. Within a panel four consecutive
// inputs of one output are neighbours, because that is what one lane of the dot product instructions reads:
//
//            one step: 64 outputs x 4 inputs = 256 bytes = 4 registers of 512 bits
//           ┌────────────────┬────────────────┬─────────────── ─ ─ ┬─────────────────┐
//     k=0   │ n0: w w w w    │ n1: w w w w    │ n2: w w w w        │ n63: w w w w    │   inputs 0..3
//     k=4   │ n0: w w w w    │ n1: w w w w    │ n2: w w w w        │ n63: w w w w    │   inputs 4..7
//      :    └────────────────┴────────────────┴─────────────── ─ ─ ┴─────────────────┘
//           the next panel (outputs 64..127) follows when all K inputs of this one are done
//
// Two neighbours of a quadruple (its first two, its last two) are together at most 128 in size, so that their products
// with unsigned bytes, added, fit a signed word: processors without VNNI multiply bytes that way, and saturate. It costs
// a third of a bit of the weights' precision, which is not the largest error here, and makes every engine exact.
//
// A tile is 6 tokens x 64 outputs: 24 accumulators of 16 lanes, 4 registers of weights and one broadcast quadruple of
// inputs are 29 of AVX-512's 32 registers. A panel of 384 inputs is 24 KB, so that it stays in the first-level cache
// while the tokens pass by. The narrower instruction sets compute the same tile in strips, and the last tile of a group
// is as high as there are tokens left.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dd {

constexpr int LANES = 16;        // floats that are computed together, whatever the width of the registers
constexpr int TILE_TOKENS = 6;   // rows of a tile
constexpr int TILE_OUTPUTS = 64; // columns of a tile, and of a panel of packed weights
constexpr int QUAD = 4;          // inputs that one dot product instruction multiplies and adds in a lane
constexpr size_t ALIGNMENT = 64;
constexpr int PAIR_LIMIT = 128;  // of the sizes of two neighbouring weights

// Limits of a shape: far above any model of this family, low enough that no product of them overflows.
constexpr uint32_t MAX_LAYERS = 64, MAX_DIM = 4096, MAX_INNER = 16384, MAX_VOCABULARY = 1u << 20, MAX_POSITIONS = 1024;
constexpr uint32_t HEAD_STEP = 32;  // a head's width is a multiple of it
constexpr uint32_t MAX_HEAD = 128;

// What becomes of a text's last rows: their mean or the first one as a unit vector, or a number that says how well the
// two parts of a pair go together: classifier(tanh(pooler(first row))).
enum class Pooling : uint32_t { MEAN = 0, CLS = 1, SCORE = 2 };

struct Shape {
    uint32_t layers, dim, heads, inner, vocabulary, positions;
    Pooling pooling;
    float epsilon;  // of the layer norms

    size_t head() const { return dim / heads; }
    bool scores() const { return pooling == Pooling::SCORE; }
    size_t kinds() const { return scores() ? 2 : 1; }      // of tokens: those of a pair's second part are another one
    size_t results() const { return scores() ? 1 : dim; }  // floats that a text gives
};

struct Header {
    char magic[8];
    uint32_t version;
    uint32_t header_bytes;
    Shape shape;
    uint64_t body_bytes;
    uint32_t crc32;
    uint32_t zero;
    char name[64];
    char unused[128];
};
static_assert(sizeof(Shape) == 32 && sizeof(Header) == 256, "the file's header has no padding");

constexpr char MAGIC[9] = "DDWEIGHT";
constexpr uint32_t FORMAT = 1;

constexpr size_t rounded_up(size_t value, size_t step) { return (value + step - 1) / step * step; }

// A layer y = W x + b in eight bits. With inputs x = (q - zero) * scale it is
// y[n] = (sum_k W[n][k] q[k] - zero * sums[n]) * scale * scales[n] + bias[n].
struct Linear {
    size_t inputs, outputs;
    const int8_t* packed;
    const float* scales;  // one per output
    const float* sums;    // the sum of each output's weights
    const float* bias;
};

struct Norm {
    const float* gain;
    const float* bias;
};

struct Layer {
    Linear attention_in, attention_out, inner, outer;
    Norm attention_norm, output_norm;
};

struct Head {
    Linear pooler;
    const float* weights;
    const float* bias;
};

}  // namespace dd
