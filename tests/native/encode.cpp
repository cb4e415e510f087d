// Encodes one batch for a test on an emulated processor. Argument: a weights file. Standard input: int32 count, the
// lengths, all ids; standard output: the vectors.
#include <cstdio>
#include <numeric>
#include <vector>

#include "encoder.h"

namespace {

std::vector<int32_t> numbers(size_t count) {
    std::vector<int32_t> all(count);
    if (fread(all.data(), sizeof(int32_t), count, stdin) != count) throw dd::Refused("The input is too short.");
    return all;
}

}  // namespace

int main(int, char** words) {
    const dd::Encoder encoder(words[1], "auto");
    const std::vector<int32_t> lengths = numbers(static_cast<size_t>(numbers(1)[0]));
    const std::vector<int32_t> ids = numbers(std::accumulate(lengths.begin(), lengths.end(), size_t{0}));
    std::vector<float> out(lengths.size() * encoder.shape().dim);
    encoder.encode({ids.data(), lengths.data(), lengths.size()}, out.data(), 1, nullptr);
    fprintf(stderr, "%s", encoder.kernels());
    return fwrite(out.data(), sizeof(float), out.size(), stdout) != out.size();
}
