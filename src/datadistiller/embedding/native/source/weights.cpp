#include "weights.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>

namespace dd {
namespace {

// CRC-32 as zlib and PNG have it, of bytes that follow those of `crc`. Eight at a time: 23 MB take about 10 ms.
uint32_t crc32(uint32_t crc, const uint8_t* data, size_t size) {
    std::array<std::array<uint32_t, 256>, 8> table;
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t value = byte;
        for (int bit = 0; bit < 8; bit++) value = value >> 1 ^ (value & 1 ? 0xedb88320u : 0);
        table[0][byte] = value;
    }
    for (size_t more = 1; more < 8; more++)
        for (size_t byte = 0; byte < 256; byte++)
            table[more][byte] = table[more - 1][byte] >> 8 ^ table[0][table[more - 1][byte] & 255];
    crc = ~crc;
    for (; size >= 8; data += 8, size -= 8) {
        uint32_t low, high;
        memcpy(&low, data, 4);
        memcpy(&high, data + 4, 4);
        low ^= crc;
        crc = table[7][low & 255] ^ table[6][low >> 8 & 255] ^ table[5][low >> 16 & 255] ^ table[4][low >> 24] ^
              table[3][high & 255] ^ table[2][high >> 8 & 255] ^ table[1][high >> 16 & 255] ^ table[0][high >> 24];
    }
    for (; size > 0; data++, size--) crc = crc >> 8 ^ table[0][(crc ^ *data) & 255];
    return ~crc;
}

bool possible(const Shape& shape) {
    const bool sizes = shape.layers >= 1 && shape.layers <= MAX_LAYERS && shape.dim >= 1 && shape.dim <= MAX_DIM &&
                       shape.inner >= 1 && shape.inner <= MAX_INNER && shape.vocabulary >= 1 &&
                       shape.vocabulary <= MAX_VOCABULARY && shape.positions >= 1 && shape.positions <= MAX_POSITIONS;
    if (!sizes || shape.dim % TILE_OUTPUTS || shape.inner % TILE_OUTPUTS) return false;
    if (shape.heads < 1 || shape.dim % shape.heads) return false;
    const bool heads = shape.head() % HEAD_STEP == 0 && shape.head() <= MAX_HEAD;
    const bool pooling = shape.pooling == Pooling::MEAN || shape.pooling == Pooling::CLS || shape.scores();
    return heads && pooling && std::isfinite(shape.epsilon) && shape.epsilon >= 0.f;
}

// Whether no two neighbours are too large together (layout.h).
bool in_pairs(const Linear& layer) {
    int largest = 0;
    for (size_t k = 0; k < layer.inputs * layer.outputs; k += 2)
        largest = std::max(largest, std::abs(layer.packed[k]) + std::abs(layer.packed[k + 1]));
    return largest <= PAIR_LIMIT;
}

// Hands out the parts of a body one after the other. Without a body it only counts.
class Reader {
  public:
    explicit Reader(const uint8_t* body) : body_(body) {}

    template <class T>
    const T* take(size_t count) {
        const size_t at = offset_;
        offset_ = rounded_up(offset_ + count * sizeof(T), ALIGNMENT);
        return reinterpret_cast<const T*>(body_ + at);
    }

    Linear linear(size_t inputs, size_t outputs) {
        const int8_t* packed = take<int8_t>(inputs * outputs);
        const float* scales = take<float>(outputs);
        const float* sums = take<float>(outputs);
        return {inputs, outputs, packed, scales, sums, take<float>(outputs)};
    }

    Norm norm(size_t dim) {
        const float* gain = take<float>(dim);
        return {gain, take<float>(dim)};
    }

    size_t offset() const { return offset_; }

  private:
    const uint8_t* body_;
    size_t offset_ = 0;
};

}  // namespace

Weights::Weights(const std::string& path) : memory_(nullptr), size_(0) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) throw Refused("The weights " + path + " cannot be opened.");
    struct stat status;
    void* memory = MAP_FAILED;
    if (fstat(file, &status) == 0 && status.st_size >= static_cast<off_t>(sizeof(Header)))
        memory = mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (memory == MAP_FAILED) throw Refused("The weights " + path + " are incomplete or cannot be mapped.");
    memory_ = static_cast<const uint8_t*>(memory);
    size_ = static_cast<size_t>(status.st_size);
    try {
        verify(path);
    } catch (...) {
        munmap(memory, size_);
        throw;
    }
}

Weights::~Weights() { munmap(const_cast<uint8_t*>(memory_), size_); }

void Weights::verify(const std::string& path) {
    Header header;
    memcpy(&header, memory_, sizeof header);
    if (memcmp(header.magic, MAGIC, sizeof header.magic) != 0) throw Refused("The file " + path + " holds no weights.");
    if (header.version != FORMAT || header.header_bytes != sizeof header)
        throw Refused("The weights " + path + " have a format of another version.");
    if (!possible(header.shape)) throw Refused("The weights " + path + " are of a shape that is not supported.");
    shape = header.shape;
    if (lay_out() != header.body_bytes || size_ != sizeof header + header.body_bytes)
        throw Refused("The weights " + path + " are incomplete.");
    const uint32_t expected = header.crc32;
    header.crc32 = 0;
    const uint32_t of_header = crc32(0, reinterpret_cast<const uint8_t*>(&header), sizeof header);
    if (crc32(of_header, memory_ + sizeof header, header.body_bytes) != expected)
        throw Refused("The weights " + path + " are damaged.");
    bool rounded = !shape.scores() || in_pairs(head.pooler);
    for (const Layer& layer : layers)
        for (const Linear* each : {&layer.attention_in, &layer.attention_out, &layer.inner, &layer.outer})
            rounded = rounded && in_pairs(*each);
    if (!rounded) throw Refused("The weights " + path + " are not rounded as they must be.");
}

// Finds every part; returns how many bytes they are together.
size_t Weights::lay_out() {
    Reader reader(memory_ + sizeof(Header));
    words = reader.take<int8_t>(static_cast<size_t>(shape.vocabulary) * shape.dim);
    word_scales = reader.take<float>(shape.vocabulary);
    positions = reader.take<float>(shape.kinds() * shape.positions * shape.dim);
    norm = reader.norm(shape.dim);
    for (uint32_t n = 0; n < shape.layers; n++) {
        Layer layer;
        layer.attention_in = reader.linear(shape.dim, 3 * static_cast<size_t>(shape.dim));
        layer.attention_out = reader.linear(shape.dim, shape.dim);
        layer.attention_norm = reader.norm(shape.dim);
        layer.inner = reader.linear(shape.dim, shape.inner);
        layer.outer = reader.linear(shape.inner, shape.dim);
        layer.output_norm = reader.norm(shape.dim);
        layers.push_back(layer);
    }
    if (shape.scores()) {
        head.pooler = reader.linear(shape.dim, shape.dim);
        head.weights = reader.take<float>(shape.dim);
        head.bias = reader.take<float>(1);
    }
    return reader.offset();
}

}  // namespace dd
