// A weights file, mapped into memory and checked: nothing that it says can make the encoder read outside of it.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "layout.h"

namespace dd {

// Whatever is wrong with a file, a text or a machine, in one sentence for a person.
struct Refused : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class Weights {
  public:
    // Maps and verifies the file; throws Refused. Its pages are shared by all processes that map it.
    explicit Weights(const std::string& path);
    ~Weights();
    Weights(const Weights&) = delete;
    Weights& operator=(const Weights&) = delete;

    Shape shape;
    const int8_t* words;
    const float* word_scales;
    const float* positions;  // [kinds][positions][dim]
    Norm norm;
    std::vector<Layer> layers;
    Head head;  // if the model scores

  private:
    const uint8_t* memory_;
    size_t size_;

    void verify(const std::string& path);
    size_t lay_out();
};

}  // namespace dd
