// A test device: Android's mutexes and attributes of threads on arm64, where the desktop's are larger.
//
// A mutex has 40 bytes there, aligned to four, and 48 here; so its memory holds a pointer to one of the desktop's.
// What a static initializer wrote there is small, and no pointer. Recursive mutexes of static initializers become
// plain ones: none of the libraries has any.

#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#define EXPORT(name, version) __asm__(".symver device_" #name ", " #name "@" #version);

static uintptr_t* slot(void* mutex) { return (uintptr_t*)(((uintptr_t)mutex + 7) & ~(uintptr_t)7); }

static pthread_mutex_t* real(void* mutex, const pthread_mutexattr_t* attributes) {
  uintptr_t* word = slot(mutex);
  uintptr_t now = __atomic_load_n(word, __ATOMIC_ACQUIRE);
  if (now > 0xffff) return (pthread_mutex_t*)now;
  pthread_mutex_t* made = malloc(sizeof *made);
  pthread_mutex_init(made, attributes);
  if (__atomic_compare_exchange_n(word, &now, (uintptr_t)made, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return made;
  free(made);
  return (pthread_mutex_t*)now;
}

int device_pthread_mutex_init(void* mutex, const pthread_mutexattr_t* attributes) {
  *slot(mutex) = 0;
  real(mutex, attributes);
  return 0;
}
int device_pthread_mutex_lock(void* mutex) { return pthread_mutex_lock(real(mutex, NULL)); }
int device_pthread_mutex_trylock(void* mutex) { return pthread_mutex_trylock(real(mutex, NULL)); }
int device_pthread_mutex_unlock(void* mutex) { return pthread_mutex_unlock(real(mutex, NULL)); }
int device_pthread_mutex_destroy(void* mutex) {
  const uintptr_t word = *slot(mutex);
  if (word > 0xffff) {
    pthread_mutex_destroy((void*)word);
    free((void*)word);
  }
  *slot(mutex) = 0;
  return 0;
}
int device_pthread_cond_wait(pthread_cond_t* condition, void* mutex) {
  return pthread_cond_wait(condition, real(mutex, NULL));
}
int device_pthread_cond_timedwait(pthread_cond_t* condition, void* mutex, const struct timespec* until) {
  return pthread_cond_timedwait(condition, real(mutex, NULL), until);
}

int device_pthread_attr_init(void** attributes) {
  *attributes = malloc(sizeof(pthread_attr_t));
  return pthread_attr_init(*attributes);
}
int device_pthread_attr_destroy(void** attributes) {
  const int code = pthread_attr_destroy(*attributes);
  free(*attributes);
  return code;
}
int device_pthread_attr_setstacksize(void** attributes, size_t size) {
  return pthread_attr_setstacksize(*attributes, size);
}
int device_pthread_attr_setdetachstate(void** attributes, int state) {
  return pthread_attr_setdetachstate(*attributes, state);
}
int device_pthread_create(pthread_t* thread, void** attributes, void* (*run)(void*), void* argument) {
  return pthread_create(thread, attributes == NULL ? NULL : *attributes, run, argument);
}

#include "exports_threads.h"
