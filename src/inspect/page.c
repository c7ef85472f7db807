/* The page: made, divided into meters, and made anew in a forked child. */
#include "meter.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define METERS 1024
#define METER_SIZE 4096 /* a page of memory, which is none until a loop has it */
#define SIZE ((size_t)METER_SIZE * (METERS + 1))

/* glibc has these from 2.27 on, and the wheels are for 2.17. */
#ifndef MFD_CLOEXEC
#define MFD_CLOEXEC 1U
#define MFD_ALLOW_SEALING 2U
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif
#ifndef F_ADD_SEALS
#define F_ADD_SEALS 1033
#define F_SEAL_SEAL 1
#define F_SEAL_SHRINK 2
#define F_SEAL_GROW 4
#endif

_Static_assert(sizeof(ml_meter) <= METER_SIZE, "a meter has room");
_Static_assert(sizeof(ml_page) <= METER_SIZE, "the header has room");

/* All guarded by the GIL. */
static ml_page *page;         /* NULL until the first loop */
static int page_fd = -1;      /* kept open, as it is what others find; -1: memory only */
static struct stat page_stat; /* ... by which it is known if somebody closed the number */
static uint64_t used[METERS / 64];
static uint64_t serial;

/* memfd_create(), which the C library need not have. */
static int
create(unsigned int flags)
{
#ifdef SYS_memfd_create
    return (int)syscall(SYS_memfd_create, "moodloop", flags);
#else /* built with the headers of a kernel before 3.17 */
    (void)flags;
    errno = ENOSYS;
    return -1;
#endif
}

/* -1 if there is none to be had, as where there are no descriptors left. */
static int
new_file(void)
{
    int fd = create(MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

    if (fd < 0) { /* before Linux 6.3 */
        fd = create(MFD_CLOEXEC | MFD_ALLOW_SEALING);
    }
    /* Sealed: who has opened it must not cut it short under our feet. */
    if (fd >= 0 && (ftruncate(fd, (off_t)SIZE) < 0 || fstat(fd, &page_stat) < 0 ||
                    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* At `place`, or anywhere if that is NULL. Where there is no file the counts are for the process
 * alone, and `python -m moodloop doctor` says so. */
static void *
map(void *place)
{
    int fixed = place ? MAP_FIXED : 0;

    page_fd = new_file();
    if (page_fd >= 0) {
        void *mapped = mmap(place, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | fixed, page_fd, 0);
        if (mapped != MAP_FAILED) {
            return mapped;
        }
        close(page_fd);
        page_fd = -1;
    }
    return mmap(place, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | fixed, -1, 0);
}

static void
fill_header(void)
{
    *page = (ml_page){.version = ML_PAGE_VERSION,
                      .header_size = sizeof(ml_page),
                      .meters_at = METER_SIZE,
                      .meter_size = METER_SIZE,
                      .meters = METERS,
                      .pid = (int32_t)getpid(),
                      .started = ml_monotonic()};
    strncpy(page->moodloop, MOODLOOP_VERSION, sizeof(page->moodloop) - 1);
    memcpy(page->magic, ML_PAGE_MAGIC, sizeof(page->magic)); /* last: now it is whole */
}

static ml_meter *
meter_at(size_t number)
{
    return (ml_meter *)((char *)page + METER_SIZE * (number + 1));
}

ml_meter *
ml_meter_new(void)
{
    ml_meter *meter = NULL;

    if (page == NULL) {
        void *mapped = map(NULL);
        if (mapped != MAP_FAILED) {
            page = mapped;
            fill_header();
        }
    }
    for (size_t i = 0; page != NULL && meter == NULL && i < METERS / 64; i++) {
        if (~used[i] != 0) {
            int bit = __builtin_ctzll(~used[i]);
            used[i] |= (uint64_t)1 << bit;
            meter = meter_at(i * 64 + (size_t)bit);
        }
    }
    if (meter == NULL) {
        meter = PyMem_RawCalloc(1, sizeof(*meter));
        if (meter == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        if (page != NULL) {
            page->unlisted++;
        }
    }
    meter->serial = ++serial;
    return meter;
}

void
ml_meter_free(ml_meter *meter)
{
    size_t place = page ? (size_t)((char *)meter - (char *)page) : SIZE;

    if (meter == &ml_no_meter) {
        return;
    }
    if (page == NULL || (char *)meter < (char *)page || place >= SIZE) {
        PyMem_RawFree(meter);
        return;
    }
    memset(meter, 0, sizeof(*meter));
    size_t number = place / METER_SIZE - 1;
    assert(used[number / 64] & (uint64_t)1 << number % 64);
    used[number / 64] &= ~((uint64_t)1 << number % 64);
}

/* What this process has inherited is the page of another, who goes on writing to it. */
void
ml_page_after_fork(void)
{
    struct stat now;
    ml_meter *saved[METERS];

    if (page == NULL) {
        return;
    }
    for (size_t i = 0; i < METERS; i++) {
        saved[i] = NULL;
        if (used[i / 64] & (uint64_t)1 << i % 64) {
            saved[i] = PyMem_RawMalloc(sizeof(ml_meter));
            if (saved[i] != NULL) {
                *saved[i] = *meter_at(i);
            }
        }
    }
    if (page_fd >= 0 && fstat(page_fd, &now) == 0 && now.st_ino == page_stat.st_ino &&
        now.st_dev == page_stat.st_dev) {
        close(page_fd);
    }
    if (map(page) == MAP_FAILED) { /* no memory for page tables: it cannot go on counting there */
        Py_FatalError("moodloop: no memory for the page of a forked child");
    }
    fill_header();
    for (size_t i = 0; i < METERS; i++) {
        if (saved[i] != NULL) {
            *meter_at(i) = *saved[i];
            PyMem_RawFree(saved[i]);
        }
    }
    ml_meter_forked();
}

PyObject *
ml_page_fd(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return PyLong_FromLong(page_fd);
}
