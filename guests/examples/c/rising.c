/* A program in C: shows what rises, hides the rest, and counts its summaries.
 *
 *   rising: "mars rover" 1204, "eclipse" 900; summary 7 */
#define TREND_CAP 4096
#include "trend.h"

static u64 summaries;

u32 TREND_EXPORT(state)(void) { return (u32)&summaries; }
u32 TREND_EXPORT(state_len)(void) { return sizeof summaries; }

/* An event that weighs more than 1,000 is a mistake here: it counts as one. */
u32 TREND_EXPORT(observe)(u32 count) {
  trend_events *run = (trend_events *)trend_buffer;
  for (u32 i = 0; i < count; i++) {
    if (run->events[i].weight > 1000) run->events[i].weight = 1;
  }
  return count;
}

u32 TREND_EXPORT(summarise)(u32 count) {
  const trend_view *view = (const trend_view *)trend_buffer;
  trend_reply *reply = (trend_reply *)(trend_buffer + view->out);
  u16 ranked = 0;
  const trend_row *row = trend_rows(view);
  for (u32 i = 0; i < count; i++, row = trend_next(row)) {
    if (row->trend <= TREND_RISING) reply->places[ranked++] = (u16)i;
  }
  reply->ranked = ranked;

  trend_line line = {(char *)&reply->places[ranked], 0};
  trend_literal(&line, "rising: ");
  row = trend_rows(view);
  for (u32 i = 0, shown = 0; i < count && shown < 3; i++, row = trend_next(row)) {
    if (row->trend > TREND_RISING) continue;
    if (shown++) trend_literal(&line, ", ");
    trend_literal(&line, "\"");
    trend_write(&line, row->texts, row->name_len);
    trend_literal(&line, "\" ");
    trend_number(&line, row->count);
  }
  if (!ranked) trend_literal(&line, "nothing");
  trend_literal(&line, "; summary ");
  trend_number(&line, ++summaries);
  reply->tldr_len = (u16)line.len;
  return 0;
}
