/* Threads: a pool of our own, see native/__init__.py for why. */
#include "kernels.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#if defined(__x86_64__)
#include <immintrin.h>
#define PAUSE() _mm_pause()
#else
#define PAUSE() sched_yield()
#endif

static struct {
    pthread_mutex_t busy, sleep;
    pthread_cond_t wake;
    int workers, allowed;
    atomic_int sleepers;
    atomic_long left, done; /* chunks not yet taken, chunks finished */
    long chunks;
    void (*work)(const void *job, long chunk);
    const void *job;
} pool = {.busy = PTHREAD_MUTEX_INITIALIZER, .sleep = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static int take_chunk(void) {
    long left = atomic_load(&pool.left);
    while (left > 0)
        if (atomic_compare_exchange_weak(&pool.left, &left, left - 1)) {
            /* the job cannot change before this chunk is done, so its fields are read only now */
            pool.work(pool.job, pool.chunks - left);
            atomic_fetch_add(&pool.done, 1);
            return 1;
        }
    return 0;
}

static void *worker(void *place) {
    for (int idle = 0;;) {
        if ((intptr_t)place < pool.allowed && take_chunk()) {
            idle = 0;
        } else if (++idle < 4000) {
            PAUSE();
        } else {
            pthread_mutex_lock(&pool.sleep);
            atomic_fetch_add(&pool.sleepers, 1);
            if (atomic_load(&pool.left) <= 0 || (intptr_t)place >= pool.allowed)
                pthread_cond_wait(&pool.wake, &pool.sleep);
            atomic_fetch_sub(&pool.sleepers, 1);
            pthread_mutex_unlock(&pool.sleep);
            idle = 0;
        }
    }
    return NULL;
}

static void forget_workers(void) { /* a forked child has none */
    pthread_mutex_init(&pool.busy, NULL);
    pthread_mutex_init(&pool.sleep, NULL);
    pthread_cond_init(&pool.wake, NULL);
    pool.workers = pool.allowed = 0;
    atomic_store(&pool.sleepers, 0);
    atomic_store(&pool.left, 0);
}

static void hire(int workers) {
    static int registered;
    if (!registered++) pthread_atfork(NULL, NULL, forget_workers);
    for (pthread_t thread; pool.workers < workers; pool.workers++) {
        if (pthread_create(&thread, NULL, worker, (void *)(intptr_t)pool.workers)) return;
        pthread_detach(thread);
    }
}

void folio_parallel(void (*work)(const void *, long), const void *job, long chunks, int threads) {
    if (threads < 2 || chunks < 2 || pthread_mutex_trylock(&pool.busy)) {
        for (long chunk = 0; chunk < chunks; chunk++) work(job, chunk);
        return;
    }
    hire(threads - 1);
    pool.work = work, pool.job = job, pool.chunks = chunks, pool.allowed = threads - 1;
    atomic_store(&pool.done, 0);
    atomic_store(&pool.left, chunks);
    if (atomic_load(&pool.sleepers)) {
        pthread_mutex_lock(&pool.sleep);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.sleep);
    }
    while (take_chunk()) {}
    for (int spins = 0; atomic_load(&pool.done) < chunks; spins++)
        if (spins < 4000) PAUSE(); else sched_yield();
    pthread_mutex_unlock(&pool.busy);
}
