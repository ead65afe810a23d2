// A test device: the start of an Android program, whose constructors Android's linker would have run.

#define _GNU_SOURCE
#include <elf.h>
#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define EXPORT(name, version) __asm__(".symver device_" #name ", " #name "@" #version);

extern char** environ;

// The first object is the program.
static int construct(struct dl_phdr_info* program, size_t size, void* unused) {
  (void)size;
  (void)unused;
  const ElfW(Dyn)* entry = NULL;
  for (int i = 0; i < program->dlpi_phnum; ++i) {
    if (program->dlpi_phdr[i].p_type == PT_DYNAMIC) {
      entry = (const ElfW(Dyn)*)(program->dlpi_addr + program->dlpi_phdr[i].p_vaddr);
    }
  }
  void (**constructors)(void) = NULL;
  size_t count = 0;
  for (; entry != NULL && entry->d_tag != DT_NULL; ++entry) {
    if (entry->d_tag == DT_INIT_ARRAY) {
      constructors = (void (**)(void))(program->dlpi_addr + entry->d_un.d_ptr);
    } else if (entry->d_tag == DT_INIT_ARRAYSZ) {
      count = entry->d_un.d_val / sizeof *constructors;
    }
  }
  for (size_t i = 0; constructors != NULL && i < count; ++i) constructors[i]();
  return 1;
}

void device___libc_init(void* raw, void (*end)(void), int (*run)(int, char**, char**), const void* structors) {
  (void)end;
  (void)structors;
  const int count = (int)*(uintptr_t*)raw;
  char** values = (char**)raw + 1;
  dl_iterate_phdr(construct, NULL);
  exit(run(count, values, environ));
}

#include "exports_start.h"
