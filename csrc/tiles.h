// The tile registers of AMX: eight of 16 rows of 64 bytes. Numbers and strides are literals and bytes, as in the instructions.
//
//   TileSession                         tiles can be used while one lives, on this thread
//   RFACONV_TILE_ZERO(t)                t = 0
//   RFACONV_TILE_LOAD(t, at, stride)    16 rows of `lanes` numbers of 32 bits
//   RFACONV_TILE_STORE(t, at, stride)
//   RFACONV_TILE_DOT(t, a, b)           t[i][l] += sum_k dot(a[i][k], b[k][l]), pairs of bfloat16 in a and b
//
// What stands in for them without AMX is for tests, with as many columns as a vector has lanes.
#ifndef RFACONV_TILES_H
#define RFACONV_TILES_H

#include "vec_pairs.h"

namespace rfaconv {
namespace RFACONV_ISA {

enum : int64_t { tile_rows = 16 };

#if defined(__AMX_BF16__) && !defined(RFACONV_SCALAR)

// Others on this thread (oneDNN, OpenVINO) may count on the shape that they gave to the tiles.
class TileSession {
public:
    explicit TileSession(bool used) : used_(used) {
        if (!used_) return;
        alignas(64) Shape_ own = {};
        own.palette = 1;
        for (int t = 0; t < 8; ++t) own.rows[t] = tile_rows, own.columns[t] = 64;
        _tile_storeconfig(&before_);
        load(own);
    }
    ~TileSession() {
        if (!used_) return;
        if (before_.palette == 0)
            _tile_release();
        else
            load(before_);
    }
    TileSession(const TileSession&) = delete;
    TileSession& operator=(const TileSession&) = delete;

private:
    struct Shape_ {
        uint8_t palette, start_row, reserved[14];
        uint16_t columns[16];  // in bytes
        uint8_t rows[16];
    };
    // GCC is told that the instruction reads eight bytes: without the barrier it may leave out what writes the others.
    static void load(const Shape_& shape) {
        __asm__ volatile("" : : "r"(&shape) : "memory");
        _tile_loadconfig(&shape);
    }

    alignas(64) Shape_ before_;
    bool used_;
};

#define RFACONV_TILE_ZERO(t) _tile_zero(t)
#define RFACONV_TILE_LOAD(t, at, stride) _tile_loadd(t, at, stride)
#define RFACONV_TILE_STORE(t, at, stride) _tile_stored(t, at, stride)
#define RFACONV_TILE_DOT(t, a, b) _tile_dpbf16ps(t, a, b)

#else

struct TileSession {
    explicit TileSession(bool) {}
    ~TileSession() {}
};

static_assert(int64_t(lanes) <= 16, "a row holds a vector");

struct PlainTile {
    float row[tile_rows][16];

    void load(const float* at, int64_t stride, int64_t columns) {
        for (int64_t i = 0; i < tile_rows; ++i) memcpy(row[i], reinterpret_cast<const char*>(at) + i * stride, size_t(columns * 4));
    }
    void store(float* at, int64_t stride) const {
        for (int64_t i = 0; i < tile_rows; ++i) memcpy(reinterpret_cast<char*>(at) + i * stride, row[i], lanes * 4);
    }
    void dot(const PlainTile& a, const PlainTile& b) {
        for (int64_t i = 0; i < tile_rows; ++i) {
            vf sum = RFACONV_ISA::load(row[i]);
            for (int64_t k = 0; k < tile_rows; ++k) sum = RFACONV_ISA::dot(sum, set1_pairs(&a.row[i][k]), load_pairs(b.row[k]));
            RFACONV_ISA::store(row[i], sum);
        }
    }
};
static thread_local PlainTile plain_tiles[8];

#define RFACONV_TILE_ZERO(t) plain_tiles[t] = PlainTile{}
// Tiles 4 and 5 hold the first operand: 16 pairs to a row whatever the vectors are.
#define RFACONV_TILE_LOAD(t, at, stride) plain_tiles[t].load(at, stride, (t) == 4 || (t) == 5 ? int64_t(tile_rows) : int64_t(lanes))
#define RFACONV_TILE_STORE(t, at, stride) plain_tiles[t].store(at, stride)
#define RFACONV_TILE_DOT(t, a, b) plain_tiles[t].dot(plain_tiles[a], plain_tiles[b])

#endif

}  // namespace RFACONV_ISA
}  // namespace rfaconv

#endif
