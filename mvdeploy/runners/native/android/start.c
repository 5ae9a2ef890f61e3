/* How a program of Android starts, for toolchains without an NDK, whose crtbegin.o does this.
 *
 * The kernel and the dynamic linker leave the arguments on the stack; Android's C library takes them
 * from there, calls main and exits. The note says for which API level the program is. */
#if __ANDROID_MIN_SDK_VERSION__ != 28
#error "the note below says 28"
#endif

typedef void (*function)(void);

/* Newer releases read the counts, older ones do not; there are no such functions in C here. */
typedef struct structors {
  function *preinit_array, *init_array, *fini_array;
  unsigned long counts[3];
} structors;

int main(int, char **, char **);
_Noreturn void __libc_init(void *raw_arguments, function at_exit, int (*)(int, char **, char **),
                           const structors *);

__attribute__((used)) static void begin(void *raw_arguments) {
  static const structors none;
  __libc_init(raw_arguments, 0, main, &none);
}

/* begin is called with the stack as it was found, and aligned to 16 bytes as the ABIs ask for. */
#if defined(__aarch64__)
__asm__(
    ".text\n"
    ".globl _start\n"
    ".type _start, %function\n"
    "_start:\n"
    "  mov x29, #0\n"
    "  mov x30, #0\n"
    "  mov x0, sp\n"
    "  b begin\n");
#elif defined(__x86_64__)
__asm__(
    ".text\n"
    ".globl _start\n"
    ".type _start, %function\n"
    "_start:\n"
    "  xorl %ebp, %ebp\n"
    "  movq %rsp, %rdi\n"
    "  andq $~0xf, %rsp\n"
    "  callq begin\n"
    "  hlt\n");
#else
#error "say here how this architecture starts"
#endif

__asm__(
    ".section .note.android.ident, \"a\", %note\n"
    ".balign 4\n"
    ".long 8\n"  /* bytes of the name */
    ".long 4\n"  /* bytes of what it says */
    ".long 1\n"  /* which is the API level */
    ".ascii \"Android\\0\"\n"
    ".long 28\n"
    ".previous\n");
