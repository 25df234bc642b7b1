/* Allocator for LD_PRELOAD that ends each aligned block at an inaccessible page, so that the first byte written or read
 * beyond it ends the process: exit status 101 for a write, 102 for a read. torch takes tensors and oneDNN's scratchpads
 * from posix_memalign. Addresses are never used again, so a use after free is found too. Linux on x86-64. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE 4096ul
#define ARENA (1ul << 38)
#define SMALLEST 512ul /* smaller blocks are objects, not tensors */
#define FILL 0xff /* NaN, so that a number read before it is written shows */

extern void __libc_free(void *);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static char *arena;
static size_t used;

static void report(int number, siginfo_t *info, void *context) {
    char *at = info->si_addr;
    if (arena == NULL || at < arena || at >= arena + ARENA) {
        signal(number, SIG_DFL);
        return;
    }
    _exit(((ucontext_t *)context)->uc_mcontext.gregs[REG_ERR] & 2 ? 101 : 102);
}

__attribute__((constructor)) static void reserve(void) {
    struct sigaction action = {.sa_sigaction = report, .sa_flags = SA_SIGINFO};
    arena = mmap(NULL, ARENA, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED)
        _exit(103);
    sigaction(SIGSEGV, &action, NULL);
}

/* Before each block lies a page with its size. */
int posix_memalign(void **result, size_t alignment, size_t size) {
    if (arena == NULL || size < SMALLEST || alignment > PAGE) {
        *result = __libc_memalign(alignment, size);
        return *result == NULL ? ENOMEM : 0;
    }
    size_t whole = (size + alignment - 1) / alignment * alignment;
    size_t pages = (whole + PAGE - 1) / PAGE * PAGE;
    size_t start = __atomic_fetch_add(&used, pages + 2 * PAGE, __ATOMIC_RELAXED);
    if (start + pages + 2 * PAGE > ARENA)
        return ENOMEM;
    char *head = arena + start, *block = head + PAGE + (pages - whole);
    if (mprotect(head, PAGE + pages, PROT_READ | PROT_WRITE))
        return ENOMEM;
    ((size_t *)head)[0] = size;
    ((size_t *)head)[1] = pages;
    memset(block, FILL, whole);
    *result = block;
    return 0;
}

void *memalign(size_t alignment, size_t size) {
    void *block;
    return posix_memalign(&block, alignment, size) ? NULL : block;
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

void free(void *block) {
    char *at = block;
    if (arena == NULL || at < arena || at >= arena + ARENA) {
        __libc_free(block);
        return;
    }
    /* A block begins within the first page after its head. */
    char *head = arena + ((size_t)(at - arena) / PAGE - 1) * PAGE;
    size_t size = ((size_t *)head)[0], pages = ((size_t *)head)[1];
    for (char *rest = at + size; rest < head + PAGE + pages; rest++)
        if ((unsigned char)*rest != FILL)
            _exit(101);
    madvise(head, PAGE + pages, MADV_DONTNEED);
    mprotect(head, PAGE + pages, PROT_NONE);
}
