// The panel, feature * gate, of a tile and some channels, packed in strips for gemm_strip.
#ifndef RFACONV_PANEL_H
#define RFACONV_PANEL_H

#include "features.h"
#include "gemm.h"
#include "window.h"

namespace rfaconv {
namespace RFACONV_ISA {

// Row (channel c, tap j) of the panel is c * by_channel + j * by_tap: the order in which the weights lie in memory.
struct RowOrder {
    int64_t by_channel, by_tap;
};

// Strip i of a tile holds vectors 3i, 3i+1, 3i+2 (fewer at the end): `depth` rows of nv * lanes floats.
RFACONV_INLINE int64_t strip_count(const Tile& t) { return ceil_div(t.vectors, strip_vectors); }
RFACONV_INLINE int64_t strip_width(const Tile& t, int64_t strip) {
    return imin(strip_vectors, t.vectors - strip * strip_vectors) * lanes;
}
RFACONV_INLINE int64_t strip_offset(int64_t strip, int64_t depth) { return strip * strip_pixels * depth; }

// Rows of channels local .. local + n - 1 of a panel of `depth` rows. planes: the staged inputs of these channels, and unmasked_floats;
// g, bias: of the first of them; first: its number in x.
template <int T, class Gate>
inline void make_panel(float* panel, int64_t depth, RowOrder order, const Shape& s, const Tile& t, Gate& gate, float* planes,
                       const float* g, const float* bias, int64_t first, int64_t local, int64_t n) {
    const int64_t strips = strip_count(t);
    for (int64_t c = 0; c < n; ++c) {
        gate.begin_channel(first + c);
        // The weights of the next channel arrive while this one is worked on.
        for (int64_t k = 0; k < T * T && c + 1 < n; k += 16) __builtin_prefetch(g + (c + 1) * T * T + k, 0, 3);
        float* const unmasked = planes + n * t.channel_stride;
        unmask<T>(unmasked, planes + c * t.channel_stride, s, t);
        const PatchReader<T> patch(planes + c * t.channel_stride, t, unmasked);
        for (int64_t strip = 0; strip < strips; ++strip) {
            const int64_t width = strip_width(t, strip);
            float* out = panel + strip_offset(strip, depth) + (local + c) * order.by_channel * width;
            feature_blocks<T>(t, strip * strip_vectors, width / lanes, [&](auto count, int64_t v) __attribute__((always_inline)) {
                constexpr int V = decltype(count)::value;
                const auto put = [=](int i, int first_tap, int j, vf a) __attribute__((always_inline)) {
                    store(out + (first_tap + j) * order.by_tap * width + (v + i - strip * strip_vectors) * lanes, a);
                };
                gate.template apply<V>(patch.template at<V>(v), g + c * T * T, bias + c * T, v, put);
            });
        }
    }
}

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif
