/* proc/rec_log.c - see rec_log.h. */
#include "proc/rec_log.h"

#include "ev/ev.h"
#include "rec/why.h"
#include "util/log.h"

#include <stdio.h>

void
rec_log(struct why_limit *limit, const struct rec *r)
{
	const struct why *w = why_row((enum why_code)r->code);
	char peer[REC_ADDR_TEXT_MAX], id[REC_ID_TEXT_MAX];
	const struct log_field f[] = { /* the first only where there is one */
		{ "name", r->domain },
		{ "service", r->service },
		{ "peer", rec_addr_text(&r->peer, peer) },
		{ "id", rec_id_text(r->id, id) },
		{ "side", why_side_word(w->side) },
		{ "code", w->word },
	};
	const size_t skip = r->domain[0] == '\0';
	struct buf text;

	if (!log_wants((enum log_level)w->level))
		return;
	if (limit != NULL && !why_limit_take(limit, &r->peer, r->code, ev_now_ms()))
		return;
	buf_init(&text, WHY_SENTENCE_MAX);
	if (why_sentence_put(r, &text) == 0)
		log_fields((enum log_level)w->level, f + skip, PT_COUNT(f) - skip, "%.*s", (int)buf_size(&text),
			(const char *)buf_span(&text).p);
	buf_fini(&text);
}

void
rec_log_left(struct why_limit *limit, uint64_t now_ms, bool all)
{
	char peer[REC_ADDR_TEXT_MAX], n[16];
	struct why_left left;
	const struct why *w;

	while (limit != NULL && why_limit_left(limit, now_ms, all, &left)) {
		w = why_row((enum why_code)left.code);
		snprintf(n, sizeof n, "%u", left.n);
		log_fields((enum log_level)w->level, (const struct log_field[]){
			{ "peer", rec_host_text(&left.peer, peer) }, { "left-out", n }, { "code", w->word } }, 3,
			"%u more of the same from this address in the last minute were left out of the log",
			left.n);
	}
}
