/* Rounds between two programs that both answer plainly, one after the other, until one does not.

   Most of what two processes cost over one is the code between them: each round the programs push the referee's Python
   out of the processor's caches, and it them. This loop is small enough to stay out of their way. It decides nothing: a
   round that is not plain is handed over as it stands, with what was read of its answers, and sandbox/plain_rounds.py,
   which calls this, has Python go on with it. See sandbox/wire.py for the bytes.

   Nothing a program sends is trusted: as much is read as a plain answer is long, and compared with what it has to be. */

#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SEATS = 2, SEQUENCE = 4, HEADER = 5, PLAIN = 0 };

struct pair {
    int32_t to[SEATS], from[SEATS]; /* pipes; to write to one must not block */
    int32_t slots, num_actions;
    int32_t patience_ms;            /* for one answer */
    int32_t is_open;                /* out: a round is under way, and the next two fields are of it */
    int32_t sent[SEATS];            /* out: bytes of the frame */
    int32_t heard[SEATS];           /* out: bytes of the answer; -1 if there was nothing to read yet */
    uint32_t sequence[SEATS];       /* in and out: of the step posted last */
    int64_t until_ns;               /* of the monotonic clock: no round is begun after that */
};

/* What the Python side compares with its own, for it may be newer or older. */
int32_t size_of_pair(void)
{
    return (int32_t)sizeof(struct pair);
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void put_sequence(uint8_t *bytes, uint32_t sequence)
{
    for (int i = 0; i < SEQUENCE; i++)
        bytes[i] = (uint8_t)(sequence >> (8 * i));
}

static int32_t listen(int from, uint8_t *reply, int32_t size, int32_t patience_ms)
{
    struct pollfd one = { .fd = from, .events = POLLIN };
    if (poll(&one, 1, patience_ms) != 1)
        return -1; /* a signal too: Python heeds it, and asks again */
    return (int32_t)read(from, reply, (size_t)size);
}

static int is_plain(const struct pair *pair, int seat, const uint8_t *frame, const uint8_t *reply)
{
    if (pair->heard[seat] != HEADER + pair->slots || memcmp(reply, frame, SEQUENCE) != 0 || reply[SEQUENCE] != PLAIN)
        return 0;
    for (int32_t slot = 0; slot < pair->slots; slot++)
        if (reply[HEADER + slot] >= pair->num_actions)
            return 0;
    return 1;
}

/* Plays at most `rounds`; returns how many were plain to the end. Of each seat there is a frame, which comes with the
   actions of the round before, room for an answer, and room for its actions in all rounds. */
int32_t play_plain_rounds(struct pair *pair, int32_t rounds, uint8_t *frames, uint8_t *replies, uint8_t *actions)
{
    const int32_t slots = pair->slots, frame_size = SEQUENCE + 2 * slots, reply_size = HEADER + slots;
    for (int32_t round = 0; round < rounds; round++) {
        pair->is_open = 0;
        if (now_ns() > pair->until_ns)
            return round;
        pair->is_open = 1;
        for (int seat = 0; seat < SEATS; seat++) {
            uint8_t *frame = frames + seat * frame_size;
            put_sequence(frame, ++pair->sequence[seat]);
            ssize_t sent = write(pair->to[seat], frame, (size_t)frame_size);
            pair->sent[seat] = sent < 0 ? 0 : (int32_t)sent;
            pair->heard[seat] = -1;
        }
        for (int seat = 0; seat < SEATS; seat++) {
            uint8_t *reply = replies + seat * reply_size;
            if (pair->sent[0] < frame_size || pair->sent[1] < frame_size)
                return round;
            pair->heard[seat] = listen(pair->from[seat], reply, reply_size, pair->patience_ms);
            if (!is_plain(pair, seat, frames + seat * frame_size, reply))
                return round;
        }
        for (int seat = 0; seat < SEATS; seat++) {
            const uint8_t *moves = replies + seat * reply_size + HEADER;
            memcpy(frames + seat * frame_size + SEQUENCE, moves, (size_t)slots);
            memcpy(frames + !seat * frame_size + SEQUENCE + slots, moves, (size_t)slots);
            memcpy(actions + ((size_t)seat * (size_t)rounds + (size_t)round) * (size_t)slots, moves, (size_t)slots);
        }
    }
    pair->is_open = 0;
    return rounds;
}
