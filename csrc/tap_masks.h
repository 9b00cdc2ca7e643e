// Which taps of a window leave the input: along one axis an output position has a bit mask of the taps that read padding.
// Only a few masks occur (none, the first tap out, the last tap out ...), so sums over "patches with this mask" are small tables.
#ifndef RFACONV_TAP_MASKS_H
#define RFACONV_TAP_MASKS_H

#include "rfaconv.h"
#include "vec.h"

namespace rfaconv {
namespace RFACONV_ISA {

// With 5 taps on a line the ones inside the input are an interval: at most 5*6/2 + 1 masks.
enum : int { max_masks = 16 };

struct AxisMasks {
    int count = 1;
    uint32_t mask[max_masks] = {0};       // mask[0] == 0: every tap reads the input
    int64_t outputs[max_masks] = {0};     // output positions with each mask
    int64_t inner_begin = 0, inner_end = 0;  // outputs with mask 0: always one run

    // id (out) receives the index into mask of every output position; it may be null.
    AxisMasks(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation, uint8_t* id) {
        for (int64_t p = 0; p < out; ++p) {
            uint32_t bits = 0;
            for (int64_t k = 0; k < kernel; ++k) {
                const int64_t at = p * stride - pad + k * dilation;
                if (at < 0 || at >= in) bits |= 1u << k;
            }
            int which = 0;
            while (which < count && mask[which] != bits) ++which;
            if (which == count) {
                mask[which] = bits;
                outputs[which] = 0;
                ++count;
            }
            if (id != nullptr) id[p] = uint8_t(which);
            outputs[which] += 1;
            if (bits == 0) {
                if (inner_end == 0) inner_begin = p;
                inner_end = p + 1;
            }
        }
    }
};

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif
