// A plugin of qemu's user mode: executed instructions of an arm64 program, told at each of its
// writes.
//
//   qemu-aarch64 -plugin libcount.so,out=FILE ...
//
// A line "DESCRIPTOR ALL DOT MATRIX" for each system call `write` or `writev`, with what was
// executed before it: all instructions, those among them that multiply and add bytes in groups of
// four (SDOT, UDOT, USDOT, SUDOT), and those that do so for matrices (SMMLA, UMMLA, USMMLA). A
// program that writes a line after each piece of work is thereby measured piece by piece.
//
// Debian has no qemu-plugin.h; these are the functions of its version 1, of qemu 7.2. Counts are
// right for one thread.

#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_op { ADD_U64 };

extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb* block);
extern struct qemu_plugin_insn* qemu_plugin_tb_get_insn(const struct qemu_plugin_tb* block, size_t at);
extern const void* qemu_plugin_insn_data(const struct qemu_plugin_insn* instruction);
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*)(plugin_id, struct qemu_plugin_tb*));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb* block, enum qemu_plugin_op, void*,
                                                     uint64_t);
extern void qemu_plugin_register_vcpu_syscall_cb(plugin_id id,
                                                 void (*)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t,
                                                          uint64_t, uint64_t, uint64_t, uint64_t, uint64_t));

#define SHOWN __attribute__((visibility("default")))

SHOWN int qemu_plugin_version = 1;

// Numbers of system calls of arm64 Linux.
enum { kWrite = 64, kWritev = 66 };

static struct {
  uint64_t all, dot, matrix;
} executed;
static FILE* out;

// Bits that differ within a group, signs and the vector's length, are masked out.
static int is_dot(uint32_t word) {
  const int vectors = (word & 0x9fe0f400) == 0x0e809400;
  const int by_element = (word & 0x9fc0f400) == 0x0f80e000;
  const int mixed_by_element = (word & 0xbf40f400) == 0x0f00f000;
  return vectors || by_element || mixed_by_element;
}

static int is_matrix(uint32_t word) { return (word & 0xdfe0f400) == 0x4e80a400; }

static void translated(plugin_id id, struct qemu_plugin_tb* block) {
  (void)id;
  const size_t count = qemu_plugin_tb_n_insns(block);
  uint64_t dot = 0, matrix = 0;
  for (size_t at = 0; at < count; ++at) {
    uint32_t word;
    memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, at)), sizeof word);
    dot += is_dot(word);
    matrix += is_matrix(word);
  }
  qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &executed.all, count);
  if (dot) qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &executed.dot, dot);
  if (matrix) qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &executed.matrix, matrix);
}

static void called(plugin_id id, unsigned cpu, int64_t number, uint64_t descriptor, uint64_t b, uint64_t c, uint64_t d,
                   uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
  (void)id, (void)cpu, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
  if (number != kWrite && number != kWritev) return;
  fprintf(out, "%llu %llu %llu %llu\n", (unsigned long long)descriptor, (unsigned long long)executed.all,
          (unsigned long long)executed.dot, (unsigned long long)executed.matrix);
  fflush(out);
}

SHOWN int qemu_plugin_install(plugin_id id, const void* info, int count, char** arguments) {
  (void)info;
  if (count != 1 || strncmp(arguments[0], "out=", 4) != 0) {
    fprintf(stderr, "usage: -plugin libcount.so,out=FILE\n");
    return 1;
  }
  out = fopen(arguments[0] + 4, "w");
  if (!out) {
    perror(arguments[0] + 4);
    return 1;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_vcpu_syscall_cb(id, called);
  return 0;
}
