/* fuzz/fuzz_line.c - drives the line engine with anything, in pieces of any size.
 *
 * The first octet says how the session begins, the second how questions are answered, one bit each.
 * Then come chunks: an octet from 0xf8 on is something that happens (step()), any other
 * the length of what is offered in one piece. What holds for every engine is asserted all along. */
#include "proto/line/line_cmd.h"
#include "proto/line/line_engine.h"
#include "util/err.h"
#include "util/utf8.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define IDLE_MS 300000

struct drive {
	struct engine *e;
	uint64_t now_ms;
	bool asked;      /* START_TLS was given out, not answered */
	bool upgraded;   /* answered OK: the engine takes and says no more */
	bool injected;
	bool closed;     /* CLOSE was given out */
	bool drains;     /* the peer reads */
	unsigned answer; /* bits: how the next questions are answered */
	uint8_t line[2 * LINE_LINE_MAX + 64]; /* of output, until its LF */
	size_t nline;
};

/* A line that the peer sees: CRLF, printable, and either quoted or a final line. */
static void
check_line(const uint8_t *p, size_t n)
{
	PT_ASSERT(n >= 4 && p[n - 1] == '\n' && p[n - 2] == '\r');
	PT_ASSERT(utf8_printable((struct span){ p, n - 2 }));
	PT_ASSERT(p[n - 3] == '"');
	PT_ASSERT(p[0] == '"' || memcmp(p, "OK ", 3) == 0 || memcmp(p, "NO ", 3) == 0 ||
		  memcmp(p, "BAD ", 4) == 0 || memcmp(p, "BYE ", 4) == 0);
}

static void
check_output(struct drive *d, struct span s)
{
	size_t i;

	for (i = 0; i < s.n; i++) {
		PT_ASSERT(d->nline < sizeof(d->line));
		d->line[d->nline++] = s.p[i];
		if (s.p[i] == '\n') {
			check_line(d->line, d->nline);
			d->nline = 0;
		}
	}
}

static void
drain(struct drive *d, size_t n)
{
	struct span out = engine_output(d->e);

	if (n > out.n)
		n = out.n;
	check_output(d, (struct span){ out.p, n });
	engine_output_done(d->e, n);
}

static void
take_events(struct drive *d)
{
	struct engine_event ev;

	while (engine_event(d->e, &ev)) {
		PT_ASSERT(!d->closed && !d->upgraded); /* nothing comes behind either */
		switch (ev.type) {
		case ENGINE_EV_START_TLS:
			PT_ASSERT(!d->asked);
			d->asked = true;
			break;
		case ENGINE_EV_INJECTION:
			PT_ASSERT(!d->asked && !d->injected);
			d->injected = true;
			break;
		case ENGINE_EV_CLOSE:
			PT_ASSERT(d->injected == (ev.why == ENGINE_CLOSE_INJECTION));
			PT_ASSERT(engine_close_text(ev.why) != NULL);
			d->closed = true;
			d->asked = false;
			break;
		default: /* of other protocols */
			PT_ASSERT(!"an event of this protocol");
		}
	}
	PT_ASSERT(!d->injected || d->closed);
}

static void
answer(struct drive *d)
{
	static const char go_ahead[] = "OK \"Begin TLS negotiation now.\"\r\n";
	struct span out;

	d->asked = false;
	d->upgraded = (d->answer & 1) != 0;
	d->answer >>= 1;
	engine_answer(d->e, d->upgraded ? ENGINE_ANSWER_OK : ENGINE_ANSWER_UNAVAILABLE, d->now_ms);
	if (d->upgraded) {
		out = engine_output(d->e);
		PT_ASSERT(out.n >= sizeof(go_ahead) - 1);
		PT_ASSERT(memcmp(out.p + out.n - (sizeof(go_ahead) - 1), go_ahead,
				 sizeof(go_ahead) - 1) == 0);
	}
	take_events(d);
}

/* Offers octets as the worker does: what is left is offered again with more room or an answer. */
static void
offer(struct drive *d, const uint8_t *p, size_t n)
{
	size_t taken, before;

	if (d->asked) { /* parked: takes nothing, until the answer at the latest now */
		PT_ASSERT(n == 0 || engine_input(d->e, p, n, d->now_ms) == 0);
		answer(d);
	}
	while (n > 0) {
		before = engine_output(d->e).n;
		taken = engine_input(d->e, p, n, d->now_ms);
		PT_ASSERT(taken <= n);
		PT_ASSERT(taken == 0 || (before <= ENGINE_OUTPUT_HIGH && !d->asked && !d->closed &&
					 !d->upgraded));
		take_events(d);
		p += taken;
		n -= taken;
		if (d->asked) {
			PT_ASSERT(n == 0); /* octets behind STARTTLS would be an injection */
			return;
		}
		if (d->closed || d->upgraded)
			return;
		if (taken > 0)
			continue;
		PT_ASSERT(before > ENGINE_OUTPUT_HIGH); /* the only other reason to take nothing */
		drain(d, before);
	}
	if (d->drains)
		drain(d, SIZE_MAX);
}

static void
step(struct drive *d, uint8_t action)
{
	uint64_t next_ms;

	switch (action) {
	case 0:
		d->now_ms += 1000;
		break;
	case 1:
		d->now_ms += IDLE_MS;
		break;
	case 2:
		engine_end_of_input(d->e);
		break;
	case 3:
		engine_bye(d->e, (enum engine_bye)(d->answer % ENGINE_BYE_COUNT));
		break;
	case 4:
		d->drains = !d->drains;
		break;
	case 5:
		drain(d, 7);
		break;
	case 6:
		if (d->asked)
			answer(d);
		break;
	default:
		break;
	}
	take_events(d);
	next_ms = engine_tick(d->e, d->now_ms);
	PT_ASSERT(next_ms > d->now_ms); /* else a worker would spin */
	take_events(d);
	PT_ASSERT(!(d->closed || d->upgraded || d->asked) || next_ms == UINT64_MAX);
	PT_ASSERT(engine_output(d->e).n <= ENGINE_OUTPUT_MAX);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct engine_conf conf = { .hostname = "mail.example.org", .service = "fuzz",
						 .idle_timeout_ms = IDLE_MS };
	static const char *const sans[] = { "email:a@example.org", "uri:https://\"x\"/" };
	const struct engine_peer peer = { .tls = size > 0 && (data[0] & 4) != 0,
					  .tls_version = "TLS1.3", .verdict = "trusted",
					  .subject = "CN=\"a\\b\"", .sans = sans, .nsans = 2 };
	struct drive d = { .now_ms = 1000, .drains = true };
	enum engine_offer how;
	enum engine_start start;
	size_t i, n;
	uint8_t c;

	if (size < 2)
		return 0;
	how = peer.tls ? ENGINE_OFFER_NONE : (enum engine_offer)((data[0] & 3) % 3);
	start = (data[0] & 8) == 0 ? ENGINE_GREET : peer.tls ? ENGINE_UPGRADED : ENGINE_RESTARTED;
	d.answer = data[1];
	if ((d.e = line_protocol.new(&conf, start, how, &peer, d.now_ms)) == NULL)
		return 0;
	for (i = 2; i < size; i += n) {
		c = data[i++];
		n = 0;
		if (c >= 0xf8) {
			step(&d, c & 7);
			continue;
		}
		n = c < 0x80 ? c : c < 0xc0 ? (size_t)(c & 0x3f) * 64 : SIZE_MAX;
		if (n > size - i)
			n = size - i;
		offer(&d, data + i, n);
		step(&d, 7);
	}
	drain(&d, SIZE_MAX);
	PT_ASSERT(d.nline == 0); /* no reply is left unfinished */
	engine_free(&d.e);
	return 0;
}
