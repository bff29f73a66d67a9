/* Stands between a process and the files of one directory, by LD_PRELOAD.
 *
 * SHIM_DIR     the directory
 * SHIM_TRACE   a file that gets every change of those files, every flush and every line that the
 *              process writes to its output, in the order in which they happen
 * SHIM_ERROR   a file that names a call ("write", "sync" or "read"): as long as it is there, that
 *              call fails with EIO
 *
 * A record of the trace is a line, and as many bytes behind it as its last number says:
 *   O file flags 0 length path    W file offset length    T file length 0    R 0 0 length from\nto
 *   S file 0 0 (a flush begins)   E file 0 0 (it has worked)   P 0 0 length  U 0 0 length path
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* The number that a descriptor's file has in the trace, 0 if it is none of ours. */
static int files[FILES];
static int count;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int trace(void) {
    static int fd = -2;
    if (fd == -2) {
        const char *path = getenv("SHIM_TRACE");
        fd = path ? REAL(open64)(path, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
    }
    return fd;
}

static void put(const void *bytes, size_t length) {
    const char *at = bytes;
    while (length > 0) {
        ssize_t done = REAL(write)(trace(), at, length);
        if (done <= 0) abort();
        at += done;
        length -= done;
    }
}

/* With the lock held. */
static void note(char kind, int file, long long a, const void *bytes, size_t length) {
    char line[100];
    if (trace() < 0) return;
    put(line, snprintf(line, sizeof line, "%c %d %lld %zu\n", kind, file, a, length));
    put(bytes, length);
}

static int file_of(int fd) { return fd >= 0 && fd < FILES ? files[fd] : 0; }

static int fails(int file, const char *call) {
    const char *path = getenv("SHIM_ERROR");
    char wanted[16] = {0};
    if (!file || !path) return 0;
    int fd = REAL(open64)(path, O_RDONLY);
    if (fd < 0) return 0;
    ssize_t length = REAL(read)(fd, wanted, sizeof wanted - 1);
    REAL(close)(fd);
    if (length <= 0 || strncmp(wanted, call, strlen(call)) != 0) return 0;
    errno = EIO;
    return 1;
}

static int ours(const char *path) {
    const char *dir = getenv("SHIM_DIR");
    return dir && strncmp(path, dir, strlen(dir)) == 0;
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int mode = va_arg(rest, int);
    va_end(rest);
    if (!ours(path)) return REAL(open64)(path, flags, mode);
    pthread_mutex_lock(&lock);
    int fd = REAL(open64)(path, flags, mode);
    if (fd >= 0 && fd < FILES) {
        files[fd] = ++count;
        note('O', count, (flags & O_TRUNC) ? 1 : 0, path, strlen(path));
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int mode = va_arg(rest, int);
    va_end(rest);
    return open64(path, flags, mode);
}

int close(int fd) {
    if (fd >= 0 && fd < FILES) files[fd] = 0;
    return REAL(close)(fd);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    int file = file_of(fd);
    if (!file) return REAL(pwrite64)(fd, bytes, length, at);
    if (fails(file, "write")) return -1;
    pthread_mutex_lock(&lock);
    ssize_t done = REAL(pwrite64)(fd, bytes, length, at);
    if (done > 0) note('W', file, at, bytes, done);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    int file = file_of(fd);
    if (!file && fd != 1) return REAL(write)(fd, bytes, length);
    if (fails(file, "write")) return -1;
    pthread_mutex_lock(&lock);
    off64_t at = file ? REAL(lseek64)(fd, 0, SEEK_CUR) : 0;
    ssize_t done = REAL(write)(fd, bytes, length);
    if (done > 0) note(file ? 'W' : 'P', file, at, bytes, done);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t pread64(int fd, void *bytes, size_t length, off64_t at) {
    if (fails(file_of(fd), "read")) return -1;
    return REAL(pread64)(fd, bytes, length, at);
}

int ftruncate64(int fd, off64_t length) {
    int file = file_of(fd);
    if (fails(file, "write")) return -1;
    pthread_mutex_lock(&lock);
    int done = REAL(ftruncate64)(fd, length);
    if (file && done == 0) note('T', file, length, "", 0);
    pthread_mutex_unlock(&lock);
    return done;
}

static int flush(int fd, int (*call)(int)) {
    int file = file_of(fd);
    if (!file) return call(fd);
    if (fails(file, "sync")) return -1;
    pthread_mutex_lock(&lock);
    note('S', file, 0, "", 0);
    pthread_mutex_unlock(&lock);
    int done = call(fd);
    pthread_mutex_lock(&lock);
    if (done == 0) note('E', file, 0, "", 0);
    pthread_mutex_unlock(&lock);
    return done;
}

int fsync(int fd) { return flush(fd, REAL(fsync)); }

int fdatasync(int fd) { return flush(fd, REAL(fdatasync)); }

int rename(const char *from, const char *to) {
    char both[8192];
    if (!ours(from)) return REAL(rename)(from, to);
    pthread_mutex_lock(&lock);
    int done = REAL(rename)(from, to);
    if (done == 0) note('R', 0, 0, both, snprintf(both, sizeof both, "%s\n%s", from, to));
    pthread_mutex_unlock(&lock);
    return done;
}

int unlink(const char *path) {
    if (!ours(path)) return REAL(unlink)(path);
    pthread_mutex_lock(&lock);
    int done = REAL(unlink)(path);
    if (done == 0) note('U', 0, 0, path, strlen(path));
    pthread_mutex_unlock(&lock);
    return done;
}
