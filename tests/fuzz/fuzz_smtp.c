/* fuzz/fuzz_smtp.c - drives the SMTP engine, all three of its protocols, with anything, in pieces of any size.
 *
 * The first octet says which protocol and how the session begins, the second seeds how questions are answered. Then
 * come chunks: an octet from 0xf0 on is something that happens (step()), any other the length of what is
 * offered in one piece. What holds for every engine, every reply and every message is asserted all along. */
#include "proto/ask.h"
#include "proto/smtp/smtp_engine.h"
#include "util/err.h"
#include "util/utf8.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define IDLE_MS 300000
#define LINE_MAX_OUT 16384 /* a challenge in base64 is long */

struct drive {
	struct engine *e;
	uint64_t now_ms;
	uint32_t seed;
	bool asked;    /* a question was given out, not answered */
	bool tls;      /* that question is START_TLS */
	bool upgraded; /* answered OK: the engine takes and says no more */
	bool closed;
	bool ended;    /* no more input comes */
	bool leaving;  /* told to say goodbye */
	bool sink;     /* with the engine */
	bool full;     /* the sink takes nothing */
	struct ask ask;
	uint8_t last;  /* octet that went into the sink */
	uint8_t line[LINE_MAX_OUT]; /* of output, until its LF */
	size_t nline;
};

static size_t
sink_room(void *arg)
{
	const struct drive *d = arg;

	PT_ASSERT(d->sink);
	return d->full ? 0 : ASK_SINK_ROOM_MIN;
}

/* What is kept has lines that end in CRLF, and no NUL. */
static void
sink_put(void *arg, const uint8_t *p, size_t n)
{
	struct drive *d = arg;
	size_t i;

	PT_ASSERT(d->sink && n > 0 && n <= ASK_SINK_ROOM_MIN);
	for (i = 0; i < n; i++) {
		PT_ASSERT(p[i] != '\0' && (p[i] == '\n') == (d->last == '\r'));
		d->last = p[i];
	}
}

static void
sink_drop(void *arg)
{
	struct drive *d = arg;

	PT_ASSERT(d->sink);
	d->sink = false;
}

static const struct ask_sink_ops sink = { sink_room, sink_put, sink_drop };

/* A line that the peer sees: CRLF, printable, three digits, ' ' or '-'. */
static void
check_line(const uint8_t *p, size_t n)
{
	PT_ASSERT(n >= 6 && p[n - 1] == '\n' && p[n - 2] == '\r');
	PT_ASSERT(utf8_printable((struct span){ p, n - 2 }));
	PT_ASSERT(p[0] >= '2' && p[0] <= '5' && isdigit(p[1]) && isdigit(p[2]));
	PT_ASSERT(p[3] == ' ' || p[3] == '-');
}

static void
drain(struct drive *d)
{
	struct span out = engine_output(d->e);
	size_t i;

	for (i = 0; i < out.n; i++) {
		PT_ASSERT(d->nline < sizeof(d->line));
		d->line[d->nline++] = out.p[i];
		if (out.p[i] == '\n') {
			check_line(d->line, d->nline);
			d->nline = 0;
		}
	}
	engine_output_done(d->e, out.n);
}

static void
check_note(const struct note *n)
{
	size_t i;

	PT_ASSERT(note_kind_name(n->kind) != NULL);
	for (i = 0; n->envelope != NULL && i < n->envelope->nrecipients; i++)
		PT_ASSERT(n->envelope->recipients[i].n > 0 && utf8_printable(n->envelope->recipients[i]));
}

static void
take_events(struct drive *d)
{
	struct engine_event ev;

	while (engine_event(d->e, &ev)) {
		PT_ASSERT(!d->closed && !d->upgraded); /* nothing comes behind either */
		switch (ev.type) {
		case ENGINE_EV_START_TLS:
		case ENGINE_EV_ASK:
			PT_ASSERT(!d->asked);
			d->asked = true;
			d->tls = ev.type == ENGINE_EV_START_TLS;
			if (!d->tls)
				d->ask = *ev.ask;
			if (!d->tls && ev.ask->kind == ASK_COMMIT) {
				PT_ASSERT(d->sink);
				d->sink = false; /* ours */
			}
			break;
		case ENGINE_EV_NOTE:
			check_note(ev.note);
			break;
		case ENGINE_EV_CLOSE:
			d->closed = true;
			d->asked = false;
			PT_ASSERT(!d->sink);
			break;
		default:
			break;
		}
	}
}

static uint32_t
next(struct drive *d)
{
	d->seed = d->seed * 1103515245 + 12345;
	return d->seed >> 16;
}

static void
reply(struct drive *d)
{
	static const enum ask_result results[ASK_KIND_COUNT][8] = { /* ASK_OK is 0, and the rest of each row */
		[ASK_IDENTITY] = { [6] = ASK_UNKNOWN, [7] = ASK_TEMP },
		[ASK_RECIPIENT] = { [4] = ASK_UNKNOWN, ASK_ELSEWHERE, ASK_OVERQUOTA, ASK_TEMP },
		[ASK_SENDER] = { [6] = ASK_DENIED, [7] = ASK_TEMP },
		[ASK_SASL] = { [2] = ASK_MORE, ASK_DENIED, ASK_OTHER, ASK_LIMITED, ASK_MALFORMED, ASK_TEMP },
		[ASK_BODY] = { [6] = ASK_FULL, [7] = ASK_TEMP },
		[ASK_COMMIT] = { [4] = ASK_UNKNOWN, ASK_OVERQUOTA, ASK_FULL, ASK_TEMP },
	};
	_Static_assert(ASK_OK == 0, "what no row names is fine");
	enum ask_result each[128];
	struct ask_reply r = { .result = results[d->ask.kind][next(d) & 7], .user = "a@example.org",
			       .text = { (const uint8_t *)"text", next(d) & 4 },
			       .sink = { &sink, d }, .id = "id", .now_s = 1795798390 };
	size_t i;

	if (d->ask.kind == ASK_BODY && r.result == ASK_OK) {
		d->sink = true;
		d->last = 0;
	}
	if (d->ask.kind == ASK_COMMIT && d->ask.envelope->nrecipients <= PT_COUNT(each)) {
		for (i = 0; i < d->ask.envelope->nrecipients; i++)
			each[i] = results[ASK_COMMIT][next(d) & 7];
		r.each = each;
	}
	engine_reply(d->e, &r, d->now_ms);
}

static void
answer(struct drive *d)
{
	d->asked = false;
	if (!d->tls) {
		reply(d);
	} else {
		d->upgraded = (next(d) & 1) != 0;
		engine_answer(d->e, d->upgraded ? ENGINE_ANSWER_OK : ENGINE_ANSWER_UNAVAILABLE, d->now_ms);
	}
	take_events(d);
}

/* Offers octets as the worker does: what is left is offered again with more room or an answer. */
static void
offer(struct drive *d, const uint8_t *p, size_t n)
{
	size_t taken;

	while (n > 0 && !d->closed && !d->upgraded && !d->ended) {
		if (d->asked) {
			PT_ASSERT(engine_input(d->e, p, n, d->now_ms) == 0);
			answer(d);
			continue;
		}
		taken = engine_input(d->e, p, n, d->now_ms);
		PT_ASSERT(taken <= n && engine_output(d->e).n <= ENGINE_OUTPUT_MAX);
		take_events(d);
		p += taken;
		n -= taken;
		if (taken == 0 && !d->asked && !d->closed) {
			PT_ASSERT(d->full || engine_output(d->e).n > ENGINE_OUTPUT_HIGH);
			d->full = false;
		}
		drain(d);
		if (d->asked && d->tls)
			return; /* what stands behind would have been an injection */
	}
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
		d->ended = true;
		break;
	case 3:
		engine_bye(d->e, (enum engine_bye)(next(d) % ENGINE_BYE_COUNT));
		d->leaving = true;
		break;
	case 4:
		d->full = !d->full;
		break;
	case 5:
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
	drain(d);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct engine_protocol *const protocols[] = { &smtp_protocol, &submission_protocol,
								   &lmtp_protocol };
	static const struct smtp_conf limits = { .max_message_octets = 4000, .max_recipients = 3,
		.max_errors = 20, .max_unknown = 5, .max_commands = 100, .message_timeout_ms = 30000, .greeting_delay_ms = 500,
		.login = SMTP_LOGIN_CERTIFICATE | SMTP_LOGIN_PASSWORD };
	static const struct engine_conf conf = { .hostname = "mail.example.org", .service = "fuzz",
						 .idle_timeout_ms = IDLE_MS, .smtp = &limits };
	struct engine_peer peer = { .tls = size > 0 && (data[0] & 4) != 0, .tls_version = "TLS1.3",
				    .verdict = "trusted", .tls_suite = "TLS_AES_128_GCM_SHA256",
				    .tls_group = "X25519", .binds = true, .address = "2001:db8::1" };
	struct drive *d;
	enum engine_offer how;
	enum engine_start start;
	size_t i, n;

	if (size < 2 || (d = calloc(1, sizeof(*d))) == NULL)
		return 0;
	peer.identity = peer.tls && (data[0] & 16) != 0 ? "a@example.org" : NULL;
	how = peer.tls ? ENGINE_OFFER_NONE : (enum engine_offer)((data[0] & 3) % 3);
	start = (data[0] & 8) == 0 ? ENGINE_GREET : peer.tls ? ENGINE_UPGRADED : ENGINE_RESTARTED;
	d->now_ms = 1000;
	d->seed = data[1];
	d->e = protocols[(data[0] >> 5) % 3]->new(&conf, start, how, &peer, d->now_ms);
	PT_ASSERT(d->e != NULL);
	for (i = 2; i < size; i += n) {
		n = data[i++];
		if (n >= 0xf0) {
			step(d, n & 7);
			n = 0;
			continue;
		}
		if (n > size - i)
			n = size - i;
		offer(d, data + i, n);
		step(d, 7);
	}
	PT_ASSERT(d->nline == 0); /* no reply is left unfinished */
	engine_free(&d->e);
	PT_ASSERT(!d->sink);
	free(d);
	return 0;
}
