// A test device: Android's log, written to standard error.

#include <stdarg.h>
#include <stdio.h>

int __android_log_vprint(int priority, const char* tag, const char* format, va_list list) {
  (void)priority;
  fprintf(stderr, "%s: ", tag == NULL ? "" : tag);
  const int written = vfprintf(stderr, format, list);
  fputc('\n', stderr);
  return written;
}

int __android_log_print(int priority, const char* tag, const char* format, ...) {
  va_list list;
  va_start(list, format);
  const int written = __android_log_vprint(priority, tag, format, list);
  va_end(list);
  return written;
}

int __android_log_write(int priority, const char* tag, const char* text) {
  return __android_log_print(priority, tag, "%s", text == NULL ? "" : text);
}
