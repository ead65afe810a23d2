// Included ahead of llama.cpp's code where GCC builds it with AMX. GCC 12's `_tile_loadconfig` tells
// the compiler that ldtilecfg reads 8 bytes; it reads 64, so that -O3 drops what was written to the
// other 56, and the instruction faults on an empty configuration.
#if defined(__AMX_TILE__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
#define _tile_loadconfig(config) __asm__ volatile("ldtilecfg\t%X0" ::"m"(*(const char (*)[64])(config)))
#endif
