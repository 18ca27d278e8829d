/* Threads: a ring of them passing a token, a bounded buffer, and a sum with atomics. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { RING = 5, ROUNDS = 200, SLOTS = 4, ITEMS = 1000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER, filled = PTHREAD_COND_INITIALIZER;
static int holder, passes[RING], buffer[SLOTS], used, head;
static atomic_long total;
static _Thread_local long mine;
static void *member(void *arg)
{
    int id = *(int *)arg;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_mutex_lock(&lock);
        while (holder != id) pthread_cond_wait(&moved, &lock);
        passes[id]++, holder = (id + 1) % RING;
        pthread_cond_broadcast(&moved);
        pthread_mutex_unlock(&lock);
        atomic_fetch_add(&total, id);
        mine += id;
    }
    return (void *)mine;
}
static void *produce(void *unused)
{
    for (int i = 1; i <= ITEMS; i++) {
        pthread_mutex_lock(&lock);
        while (used == SLOTS) pthread_cond_wait(&moved, &lock);
        buffer[(head + used++) % SLOTS] = i;
        pthread_cond_signal(&filled);
        pthread_mutex_unlock(&lock);
    }
    return unused;
}

int main(void)
{
    pthread_t threads[RING], producer;
    int ids[RING];
    for (int i = 0; i < RING; i++) {
        ids[i] = i;
        if (pthread_create(&threads[i], NULL, member, &ids[i])) return EXIT_FAILURE;
    }
    for (int i = 0; i < RING; i++) {
        void *sum;
        pthread_join(threads[i], &sum);
        printf("member %d held it %d times, sum %ld\n", i, passes[i], (long)sum);
    }
    printf("total %ld, holder %d, main's own %ld\n", atomic_load(&total), holder, mine);
    pthread_create(&producer, NULL, produce, NULL);
    long sum = 0;
    for (int i = 0, in_order = 1; i < ITEMS; i++) {
        pthread_mutex_lock(&lock);
        while (used == 0) pthread_cond_wait(&filled, &lock);
        in_order &= buffer[head] == i + 1;
        sum += buffer[head];
        head = (head + 1) % SLOTS, used--;
        pthread_cond_broadcast(&moved);
        pthread_mutex_unlock(&lock);
        if (i + 1 == ITEMS) printf("consumed %d, sum %ld, in order: %d\n", ITEMS, sum, in_order);
    }
    return pthread_join(producer, NULL);
}
