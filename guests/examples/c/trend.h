/* The ABI of tenant programs, version 1 (docs/programs.md), in C without a library.
 *
 *   buf: | header | rows, records or texts | output |
 *                                          ^ buf + header->out
 *
 * All numbers are little-endian, as in WebAssembly. Include it once, after naming the buffer's
 * size: #define TREND_CAP 2048. A program defines the stages that it exports. */
#ifndef TREND_H
#define TREND_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;
typedef long long i64;

#define TREND_EXPORT(name) __attribute__((export_name(#name), used)) name
#define TREND_KEEP_ORDER 0xffff
#define TREND_TLDR_MAX 512
#define TREND_STATE_MAX 2048

/* What summarise reads. */
typedef struct {
  u64 as_of_ms, total, events;
  u32 distinct, count, window_ms, recent_ms, flags, out;
} trend_view;

enum { TREND_EXACT = 1, TREND_ASKED = 2 };

typedef struct {
  u64 topic, count, high, recent;
  i64 velocity_milli, score_milli;
  u8 trend, name_len;
  u16 sample_len;
  u32 size;
  char texts[]; /* the name, then the sample */
} trend_row;

enum { TREND_NEW, TREND_RISING, TREND_STEADY, TREND_FALLING };

/* What summarise writes: the places, then the line. */
typedef struct {
  u16 ranked, tldr_len;
  u16 places[];
} trend_reply;

/* What observe rewrites. */
typedef struct {
  u64 topic;
  u32 weight;
  i32 offset_ms;
} trend_event;

typedef struct {
  u64 base_ms;
  u32 count, zero;
  trend_event events[];
} trend_events;

/* What observe_text reads and writes. */
typedef struct {
  u64 base_ms;
  u32 count, out;
} trend_texts;

typedef struct {
  u32 len, weight;
  i32 offset_ms;
  u32 zero;
  char text[];
} trend_text;

typedef struct {
  u16 index, len;
  u32 weight;
  char name[];
} trend_topic;

_Static_assert(sizeof(trend_view) == 48, "the header of a view has 48 bytes");
_Static_assert(sizeof(trend_row) == 56, "a row has 56 bytes before its texts");
_Static_assert(sizeof(trend_event) == 16, "an event has 16 bytes");
_Static_assert(sizeof(trend_text) == 16, "a text has 16 bytes before its letters");
_Static_assert(sizeof(trend_topic) == 8, "a topic has 8 bytes before its name");

static _Alignas(8) u8 trend_buffer[TREND_CAP];

u32 TREND_EXPORT(trend_abi)(void) { return 1; }
u32 TREND_EXPORT(buf)(void) { return (u32)trend_buffer; }
u32 TREND_EXPORT(cap)(void) { return TREND_CAP; }

/* The first row, and the one behind a row. */
static inline const trend_row *trend_rows(const trend_view *view) {
  return (const trend_row *)(view + 1);
}

static inline const trend_row *trend_next(const trend_row *row) {
  return (const trend_row *)((const char *)row + row->size);
}

/* A line, written from left to right; what is too much is left out. */
typedef struct {
  char *text;
  u32 len;
} trend_line;

static inline void trend_write(trend_line *line, const char *text, u32 len) {
  if (len > TREND_TLDR_MAX - line->len) return;
  for (u32 i = 0; i < len; i++) line->text[line->len + i] = text[i];
  line->len += len;
}

#define trend_literal(line, text) trend_write(line, text, sizeof(text) - 1)

static inline void trend_number(trend_line *line, u64 number) {
  char digits[20];
  u32 first = sizeof digits;
  do {
    digits[--first] = (char)('0' + number % 10);
    number /= 10;
  } while (number);
  trend_write(line, digits + first, sizeof digits - first);
}

#endif
