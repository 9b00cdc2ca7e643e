// No gate: the panel is the features themselves (ablation).
#ifndef RFACONV_GATES_NONE_H
#define RFACONV_GATES_NONE_H

#include "../features.h"
#include "../window.h"

namespace rfaconv {
namespace RFACONV_ISA {

// What a gate is to the panel generator:
//   prepared_floats, prepare    values made once per call and shared by all threads
//   tile_floats, begin_tile     values of a tile; `memory` stays this thread's until the next tile
//   begin_channel               values of one channel of the tile
//   apply                       put(i, first, j, feature * gate of tap first + j) of V vectors of pixels, with their patches u[V][T]
template <int T>
struct NoneGate {
    static int64_t prepared_floats(const Shape&) { return 0; }
    static void prepare(const Shape&, const rfaconv_gate*, float*) {}
    static int64_t tile_floats(const Shape&, int64_t) { return 0; }

    NoneGate(const Shape&, const rfaconv_gate*, const float*) {}
    void begin_tile(const Tile&, float*) {}
    void begin_channel(int64_t) {}
    template <int V, class Patches, class Put>
    RFACONV_METHOD void apply(const Patches& u, const float* g, const float* b, int64_t, Put put) const {
        features<T, V>(u, g, b, put);
    }
};

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif
