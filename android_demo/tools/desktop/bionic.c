// A test device: what Android's C library has and a desktop's lacks, or does differently.
//
// Android's libraries ask for symbols of version LIBC, which no desktop library offers, so they find these and
// nothing else. What both systems do alike is passed on by jumps that `c_library.py` generates; here is the
// rest. Exported by EXPORT as hidden versions, so that calls in this file reach the desktop's own functions.

#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <unistd.h>
#include <wchar.h>

#define EXPORT(name, version) __asm__(".symver device_" #name ", " #name "@" #version);

// Standard streams of older Android are elements of an array, whose addresses stand for the desktop's.
enum { kStreamBytes = 152 };
char device___sF[3 * kStreamBytes];
FILE *device_stdin, *device_stdout, *device_stderr;

__attribute__((constructor)) static void open_streams(void) {
  device_stdin = stdin;
  device_stdout = stdout;
  device_stderr = stderr;
}

static FILE* host(void* stream) {
  const uintptr_t at = (uintptr_t)stream - (uintptr_t)device___sF;
  if (at >= sizeof device___sF) return stream;
  return at < kStreamBytes ? stdin : at < 2 * kStreamBytes ? stdout : stderr;
}

int device_fflush(void* f) { return fflush(f == NULL ? NULL : host(f)); }
size_t device_fwrite(const void* p, size_t size, size_t n, void* f) { return fwrite(p, size, n, host(f)); }
int device_fputc(int c, void* f) { return fputc(c, host(f)); }
int device_fputs(const char* text, void* f) { return fputs(text, host(f)); }
int device_getc(void* f) { return getc(host(f)); }
int device_ungetc(int c, void* f) { return ungetc(c, host(f)); }
wint_t device_getwc(void* f) { return getwc(host(f)); }
wint_t device_fputwc(wchar_t c, void* f) { return fputwc(c, host(f)); }
wint_t device_ungetwc(wint_t c, void* f) { return ungetwc(c, host(f)); }
int device_fileno(void* f) { return fileno(host(f)); }
int device_vfprintf(void* f, const char* format, va_list list) { return vfprintf(host(f), format, list); }
int device_fprintf(void* f, const char* format, ...) {
  va_list list;
  va_start(list, format);
  const int written = vfprintf(host(f), format, list);
  va_end(list);
  return written;
}

// Names of its own for what the desktop has, too.
int __xpg_strerror_r(int, char*, size_t);
int* device___errno(void) { return &errno; }
char* device___gnu_strerror_r(int code, char* text, size_t size) { return strerror_r(code, text, size); }
int device_strerror_r(int code, char* text, size_t size) { return __xpg_strerror_r(code, text, size); }

// Checked variants: the size of the memory is the last argument.
size_t device___strlen_chk(const char* text, size_t size) {
  const size_t length = strlen(text);
  if (length >= size) abort();
  return length;
}
char* device___strchr_chk(const char* text, int c, size_t size) {
  (void)size;
  return strchr(text, c);
}
char* device___strrchr_chk(const char* text, int c, size_t size) {
  (void)size;
  return strrchr(text, c);
}
ssize_t device___write_chk(int fd, const void* data, size_t count, size_t size) {
  if (count > size) abort();
  return write(fd, data, count);
}
void device___FD_SET_chk(int fd, fd_set* set, size_t size) {
  if (fd < 0 || (size_t)fd >= 8 * size) abort();
  FD_SET(fd, set);
}
int device___FD_ISSET_chk(int fd, const fd_set* set, size_t size) {
  if (fd < 0 || (size_t)fd >= 8 * size) abort();
  return FD_ISSET(fd, set);
}

void device___assert2(const char* file, int line, const char* function, const char* what) {
  fprintf(stderr, "%s:%d: %s: assertion \"%s\" failed\n", file, line, function, what);
  abort();
}

// A set of signals has 8 bytes there and 128 here.
int device_sigfillset(uint64_t* set) {
  *set = ~UINT64_C(0);
  return 0;
}
int device_pthread_sigmask(int how, const uint64_t* set, uint64_t* old) {
  sigset_t given, before;
  sigemptyset(&given);
  for (int signal = 1; set != NULL && signal <= 64; ++signal) {
    if ((*set >> (signal - 1)) & 1) sigaddset(&given, signal);
  }
  const int code = pthread_sigmask(how, set == NULL ? NULL : &given, &before);
  if (code != 0 || old == NULL) return code;
  *old = 0;
  for (int signal = 1; signal <= 64; ++signal) {
    if (sigismember(&before, signal) == 1) *old |= UINT64_C(1) << (signal - 1);
  }
  return 0;
}

// Numbers of the questions differ.
long device_sysconf(int name) {
  switch (name) {
    case 0x06: return sysconf(_SC_CLK_TCK);
    case 0x27:
    case 0x28: return sysconf(_SC_PAGESIZE);
    case 0x60: return sysconf(_SC_NPROCESSORS_CONF);
    case 0x61: return sysconf(_SC_NPROCESSORS_ONLN);
    case 0x62: return sysconf(_SC_PHYS_PAGES);
    case 0x63: return sysconf(_SC_AVPHYS_PAGES);
    default: errno = EINVAL; return -1;
  }
}

int device___system_property_get(const char* name, char* value) {
  (void)name;
  *value = '\0';
  return 0;
}
void device_android_set_abort_message(const char* text) { fprintf(stderr, "abort: %s\n", text == NULL ? "" : text); }

#include "exports_bionic.h"
