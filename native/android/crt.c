// Where Android's dynamic linker starts an executable, its constructors already run.

typedef void function(void);
typedef struct {
  function **preinit, **init, **fini;
} structors;

extern int main(int, char**, char**);
// Of Android's C library: calls main and ends the process with what it returns.
extern void __libc_init(void*, void (*)(void), int (*)(int, char**, char**), structors const*)
    __attribute__((noreturn));

static function* none[] = {(function*)-1, 0};

__attribute__((noreturn, used, visibility("hidden"))) void start_c(void* raw) {
  structors all = {none, none, 0};
  __libc_init(raw, 0, main, &all);
}

__asm__(
    ".globl _start\n"
    ".type _start,%function\n"
    "_start:\n"
    " mov x29, #0\n"
    " mov x30, #0\n"
    " mov x0, sp\n"
    " b start_c\n");

__attribute__((visibility("hidden"))) void* __dso_handle = 0;
