#include "scratch.h"

#include <atomic>
#include <cstdlib>
#include <utility>

#if defined(_WIN32)
#include <malloc.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace rfaconv {

namespace {

constexpr std::size_t kAlign = 4096;
constexpr std::size_t kHuge = std::size_t(2) << 20;

// Blocks that no call uses. Slots are exchanged atomically, so that Python threads may call at once and a fork()
// never inherits a held lock.
std::atomic<void*> idle[8];

// The size of a block stands in the page before its data.
std::size_t& size_of(void* data) { return *reinterpret_cast<std::size_t*>(static_cast<char*>(data) - kAlign); }

#if defined(_WIN32)
void* allocate(std::size_t align, std::size_t bytes) { return _aligned_malloc(bytes, align); }
void release(void* block) { _aligned_free(block); }
#else
void* allocate(std::size_t align, std::size_t bytes) {
    void* block = nullptr;
    return posix_memalign(&block, align, bytes) == 0 ? block : nullptr;
}
void release(void* block) { std::free(block); }
#endif

void drop(void* data) { release(static_cast<char*>(data) - kAlign); }

void* create(std::size_t bytes) {
    const std::size_t align = bytes >= kHuge ? kHuge : kAlign;
    const std::size_t total = (bytes + kAlign + align - 1) / align * align;
    void* const block = allocate(align, total);
    if (block == nullptr) return nullptr;
#if defined(__linux__)
    // A hint only: large pages spare the address translation of weight and panel streams.
    if (align == kHuge) (void)madvise(block, total, MADV_HUGEPAGE);
#endif
    void* data = static_cast<char*>(block) + kAlign;
    size_of(data) = total - kAlign;
    return data;
}

}  // namespace

namespace {

bool keep(void* block) {
    for (auto& slot : idle) {
        void* empty = nullptr;
        if (slot.compare_exchange_strong(empty, block)) return true;
    }
    return false;
}

void keep_or_drop(void* block) {
    if (block != nullptr && !keep(block)) drop(block);
}

}  // namespace

// The smallest block that is large enough: a call that holds a small and a large one finds both again. One that is too small
// makes room for the new one.
Scratch::Scratch(std::size_t bytes) : data_(nullptr) {
    void* small = nullptr;
    for (auto& slot : idle) {
        void* found = slot.exchange(nullptr);
        if (found == nullptr) continue;
        void*& best = size_of(found) < bytes ? small : data_;
        const bool better = best == nullptr || (size_of(found) < size_of(best)) == (size_of(found) >= bytes);
        if (better) std::swap(found, best);
        keep_or_drop(found);
    }
    if (data_ != nullptr) {
        keep_or_drop(small);
        return;
    }
    if (small != nullptr) drop(small);
    data_ = create(bytes);
}

Scratch::~Scratch() {
    keep_or_drop(data_);
}

void Scratch::release_all() {
    for (auto& slot : idle) {
        void* found = slot.exchange(nullptr);
        if (found != nullptr) drop(found);
    }
}

}  // namespace rfaconv
