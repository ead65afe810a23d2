// What this processor gives a program that does nothing else: bytes read from memory, and
// multiply-adds of registers, a second. Built and started by roofline.py:
//
//     cc -O3 -march=native -fopenmp peaks.c -o peaks && OMP_NUM_THREADS=2 ./peaks MEGABYTES...
//
// Prints one JSON object. Operations count multiply and add as two. The vectors are as wide as the
// widest registers of the processor; kinds of arithmetic that it does not have are left out.

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif
#ifdef __AMX_INT8__
#include <sys/syscall.h>
#include <unistd.h>
#endif

#ifdef __AVX512F__
#define WIDTH 64
#elif defined(__AVX2__)
#define WIDTH 32
#else
#define WIDTH 16
#endif
#define SECONDS 0.3
#define REPEATS 3

typedef float Floats __attribute__((vector_size(WIDTH)));
typedef long Longs __attribute__((vector_size(WIDTH)));

static long sink;

static double read_bytes(const char* data, size_t bytes) {
  double best = 0;
  for (int repeat = 0; repeat < REPEATS; repeat++) {
    double began = omp_get_wtime(), ended;
    size_t read = 0;
    do {
#pragma omp parallel
      {
        size_t part = bytes / omp_get_num_threads() / (8 * WIDTH) * 8 * WIDTH;
        const Longs* from = (const Longs*)(data + part * omp_get_thread_num());
        const Longs* to = from + part / WIDTH;
        Longs sum[8] = {{0}};
        for (; from < to; from += 8)
          for (int i = 0; i < 8; i++) sum[i] += from[i];
        for (int i = 1; i < 8; i++) sum[0] += sum[i];
#pragma omp atomic
        sink += sum[0][0];
      }
      read += bytes;
      ended = omp_get_wtime();
    } while (ended - began < SECONDS);
    double rate = read / (ended - began);
    if (rate > best) best = rate;
  }
  return best;
}

// Twelve times, so that each sum is a register: compilers keep arrays of them in memory.
#define TWELVE(of) of(0) of(1) of(2) of(3) of(4) of(5) of(6) of(7) of(8) of(9) of(10) of(11)
#define DECLARED(i) Sum sum##i = zero;
#define ADDED(i)         \
  sum##i = STEP(sum##i); \
  __asm__ volatile("" : "+v"(sum##i));

// Operations a second of a loop over STEP of twelve sums, on every thread; `done` in each STEP.
#define PEAK(done)                                               \
  double best = 0;                                               \
  for (int repeat = 0; repeat < REPEATS; repeat++) {             \
    const long steps = 20000000;                                 \
    double began = omp_get_wtime();                              \
    _Pragma("omp parallel") {                                    \
      TWELVE(DECLARED)                                           \
      for (long step = 0; step < steps; step++) {                \
        TWELVE(ADDED)                                            \
      }                                                          \
    }                                                            \
    double rate = 12.0 * (done) * steps * omp_get_max_threads(); \
    rate /= omp_get_wtime() - began;                             \
    if (rate > best) best = rate;                                \
  }                                                              \
  return best;

#ifdef __x86_64__
static double fp32(void) {
  typedef Floats Sum;
  Sum zero = {0}, a = {0};
  __asm__ volatile("" : "+v"(a));
#define STEP(sum) sum* a + a
  PEAK(2 * WIDTH / sizeof(float))
#undef STEP
}
#endif

#if defined(__AVX512VNNI__)
static double int8(void) {
  typedef __m512i Sum;
  Sum zero = {0}, a = {0};
  __asm__ volatile("" : "+v"(a));
#define STEP(sum) _mm512_dpbusd_epi32(sum, a, a)
  PEAK(2 * 64)
#undef STEP
}
#elif defined(__AVX2__)
// Without VNNI: products in pairs to 16 bits, pairs to 32 bits, and the sum; three instructions.
static __m256i products(__m256i a, __m256i one) {
  __m256i pairs = _mm256_maddubs_epi16(a, a);
  __asm__ volatile("" : "+v"(pairs));
  return _mm256_madd_epi16(pairs, one);
}

static double int8(void) {
  typedef __m256i Sum;
  Sum zero = {0}, a = {0}, one = {0};
  __asm__ volatile("" : "+v"(a), "+v"(one));
#define STEP(sum) _mm256_add_epi32(sum, products(a, one))
  PEAK(2 * 32)
#undef STEP
}
#endif

#ifdef __AMX_INT8__
// Four sums of 16 x 16 from two tiles of rows and two of columns, 64 products deep.
static double amx_int8(void) {
  const int request_permission = 0x1023, tile_data = 18;
  if (syscall(SYS_arch_prctl, request_permission, tile_data)) return 0;
  double best = 0;
  for (int repeat = 0; repeat < REPEATS; repeat++) {
    const long steps = 3000000;
    double began = omp_get_wtime();
#pragma omp parallel
    {
      struct {
        unsigned char palette, start, reserved[14];
        unsigned short columns[16];
        unsigned char rows[16];
      } shape = {.palette = 1};
      for (int i = 0; i < 8; i++) shape.columns[i] = 64, shape.rows[i] = 16;
      __asm__ volatile("" : "+m"(shape));  // gcc takes the instruction for a reader of 8 bytes.
      _tile_loadconfig(&shape);
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      _tile_zero(4);
      _tile_zero(5);
      _tile_zero(6);
      _tile_zero(7);
      for (long step = 0; step < steps; step++) {
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
      }
      _tile_release();
    }
    double rate = 2.0 * 16 * 16 * 64 * 4 * steps * omp_get_max_threads();
    rate /= omp_get_wtime() - began;
    if (rate > best) best = rate;
  }
  return best;
}
#endif

int main(int count, char** given) {
  printf("{\"read\": {");
  for (int i = 1; i < count; i++) {
    size_t bytes = strtoul(given[i], NULL, 10) * 1000000;
    char* data = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!data) return 1;
    memset(data, 1, bytes);
    printf("%s\"%s\": %.0f", i > 1 ? ", " : "", given[i], read_bytes(data, bytes));
    free(data);
  }
  printf("}");
#ifdef __x86_64__
  printf(", \"fp32\": %.0f", fp32());
#ifdef __AVX2__
  printf(", \"int8\": %.0f", int8());
#endif
#endif
#ifdef __AMX_INT8__
  double amx = amx_int8();
  if (amx) printf(", \"amx int8\": %.0f", amx);
#endif
  printf("}\n");
  return sink == 42;
}
