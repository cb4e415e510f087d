// Token ids in, unit vectors or scores out: the forward pass over groups of whole texts, on one or more threads.
#pragma once

#include <atomic>
#include <string>

#include "kernels.h"
#include "weights.h"

namespace dd {

// Texts one after the other, without padding.
struct Texts {
    const int32_t* ids;
    const int32_t* lengths;  // each 1 to the model's positions
    size_t count;
    const int32_t* firsts = nullptr;  // for a model that scores: how many tokens the first part of each pair has
};

// Immutable after it is made: any number of threads may encode at once.
class Encoder {
  public:
    // Throws Refused if the file is damaged or this processor has no kernels of that name.
    Encoder(const std::string& path, const char* kernels);

    // Writes count x results() floats. Throws Refused if an id or a length is out of range (before anything is computed)
    // or a result is not finite. Returns false, with `out` in part unwritten, if `stop` became other than zero: it is
    // looked at between groups, each a few milliseconds of work.
    //
    // Each thread takes room for the activations of a group, 4 MB for MiniLM, and gives it back.
    bool encode(const Texts& texts, float* out, int threads, const std::atomic<int32_t>* stop) const;

    const Shape& shape() const { return weights_.shape; }
    const char* kernels() const { return kernels_.name; }

  private:
    class Room;
    struct Group;

    const Kernels& kernels_;
    Weights weights_;

    void check(const Texts& texts) const;
    void encode_group(const Texts& group, Room& room, float* out) const;
    void embed(const Texts& group, Room& room) const;
    void attend(const Texts& group, const Layer& layer, Room& room) const;
    void think(const Layer& layer, Room& room) const;
    void pool(const Texts& group, const Room& room, float* out) const;
    void score(const Texts& group, Room& room, float* out) const;
};

}  // namespace dd
