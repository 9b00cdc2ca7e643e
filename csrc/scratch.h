// Working memory of the kernels: one aligned block per call, kept for the next call.
#ifndef RFACONV_SCRATCH_H
#define RFACONV_SCRATCH_H

#include <cstddef>

namespace rfaconv {

class Scratch {
public:
    explicit Scratch(std::size_t bytes);  // data() is null if memory ran out
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    void* data() const { return data_; }
    static void release_all();

private:
    void* data_;
};

}  // namespace rfaconv

#endif
