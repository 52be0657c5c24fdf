/*
 * Entry point for Debian's musl, which is older than packed relocations (DT_RELR) and
 * would leave them undone: does them, and goes on to musl's own start as if nothing had
 * been. A position-independent program of ours has 18,700 relocations: 450 KB as they
 * are, 6 KB packed, in the file and in memory.
 */
#include <elf.h>
#include <stddef.h>

/* <elf.h> does not know them either. */
#define DT_RELRSZ 35
#define DT_RELR 36

extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const Elf64_Dyn _DYNAMIC[] __attribute__((visibility("hidden")));

/* musl finds the stack and %rdx as the kernel left them; in between the stack is aligned as a call wants it. */
__asm__(".pushsection .text.packed_start, \"ax\"\n"
        ".globl packed_start\n"
        "packed_start:\n"
        "        push %rdx\n"
        "        push %rdx\n"
        "        call relocate\n"
        "        pop %rdx\n"
        "        pop %rdx\n"
        "        jmp _start\n"
        ".popsection\n");

__attribute__((used, visibility("hidden"))) void relocate(void)
{
    const size_t base = (size_t)__ehdr_start;
    const size_t *entry = NULL;
    size_t size = 0;

    for (const Elf64_Dyn *each = _DYNAMIC; each->d_tag != DT_NULL; each++) {
        if (each->d_tag == DT_RELR)
            entry = (const size_t *)(base + each->d_un.d_ptr);
        if (each->d_tag == DT_RELRSZ)
            size = each->d_un.d_val;
    }

    size_t *word = NULL;
    for (const size_t *end = entry + size / sizeof *entry; entry < end; entry++) {
        if ((*entry & 1) == 0) {
            /* The address of a word, ... */
            word = (size_t *)(base + *entry);
            *word++ += base;
        } else {
            /* ... or one bit for each of the 63 words that follow. */
            size_t *next = word;
            for (size_t bits = *entry >> 1; bits != 0; bits >>= 1, next++)
                if (bits & 1)
                    *next += base;
            word += 63;
        }
    }
}
