/* fuzz/fuzz_exec.c - drives the exec engine with anything, from both sides, in pieces of any size.
 *
 * The first octet says how the session begins, the second how questions are answered, one bit each. Then come
 * chunks: an octet from 0xf0 on is something that happens (step()), any other the length of what follows: from
 * 0x80 on the program writes it, below the client sends it. What must hold is asserted all along: in TLS
 * both get what the other has sent and nothing else, and in plaintext no program gets the keyword. */
#include "proto/exec/exec_engine.h"
#include "util/err.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define IDLE_MS 300000

struct drive {
	struct engine *e;
	uint64_t now_ms;
	bool tls, shaped;
	bool asked, upgraded, injected, closed;
	bool wanted, runs, ended, input_ended; /* the program */
	bool bye;
	unsigned answer;
	uint64_t sent, received;      /* by client and program: sums over octets and places */
	size_t nsent, nreceived;
	uint64_t written, said;
	size_t nwritten, nsaid;
};

static void
add(uint64_t *sum, size_t *n, const uint8_t *p, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		*sum = *sum * 31 + p[i];
	*n += len;
}

static void
drain(struct drive *d, size_t n)
{
	struct span out = engine_output(d->e);

	if (n > out.n)
		n = out.n;
	add(&d->said, &d->nsaid, out.p, n);
	engine_output_done(d->e, n);
}

static void take_events(struct drive *d);

static void
feed(struct drive *d, size_t n)
{
	struct span to = engine_to_program(d->e);

	PT_ASSERT(to.n <= EXEC_TO_MAX && (to.n == 0 || !d->input_ended));
	if (!d->runs || d->ended)
		return;
	if (n > to.n)
		n = to.n;
	add(&d->received, &d->nreceived, to.p, n);
	engine_to_program_done(d->e, n);
	take_events(d);
}

static void
take_events(struct drive *d)
{
	struct engine_event ev;

	while (engine_event(d->e, &ev)) {
		PT_ASSERT(!d->closed && !d->upgraded);
		switch (ev.type) {
		case ENGINE_EV_START_TLS:
			PT_ASSERT(!d->asked && !d->tls);
			d->asked = true;
			break;
		case ENGINE_EV_INJECTION:
			PT_ASSERT(!d->asked && !d->injected && !d->tls);
			d->injected = true;
			break;
		case ENGINE_EV_START_PROGRAM:
			PT_ASSERT(!d->wanted);
			d->wanted = true;
			break;
		case ENGINE_EV_END_PROGRAM_INPUT:
			PT_ASSERT(d->runs && !d->input_ended && engine_to_program(d->e).n == 0);
			d->input_ended = true;
			break;
		case ENGINE_EV_CLOSE:
			PT_ASSERT(d->injected == (ev.why == ENGINE_CLOSE_INJECTION));
			d->closed = true;
			d->asked = false;
			break;
		default:
			PT_ASSERT(!"an event of this protocol");
		}
	}
	PT_ASSERT(!d->injected || d->closed);
}

static bool
bit(struct drive *d)
{
	bool b = (d->answer & 1) != 0;

	d->answer = d->answer >> 1 | (d->answer & 1) << 7;
	return b;
}

static void
answer(struct drive *d)
{
	d->asked = false;
	d->upgraded = bit(d);
	engine_answer(d->e, d->upgraded ? ENGINE_ANSWER_OK : ENGINE_ANSWER_UNAVAILABLE, d->now_ms);
	take_events(d);
}

static void
client_sends(struct drive *d, const uint8_t *p, size_t n)
{
	size_t taken;

	while (n > 0 && !d->closed && !d->upgraded) {
		if (d->asked) {
			PT_ASSERT(engine_input(d->e, p, n, d->now_ms) == 0);
			answer(d);
			continue;
		}
		taken = engine_input(d->e, p, n, d->now_ms);
		PT_ASSERT(engine_to_program(d->e).n <= EXEC_TO_MAX);
		if (d->tls && !d->bye)
			add(&d->sent, &d->nsent, p, taken);
		take_events(d);
		p += taken;
		n -= taken;
		if (taken > 0)
			continue;
		if (engine_output(d->e).n == 0 && (engine_to_program(d->e).n == 0 || !d->runs || d->ended))
			return; /* it waits for the program, or takes no more */
		drain(d, SIZE_MAX);
		feed(d, SIZE_MAX);
	}
}

static void
program_writes(struct drive *d, const uint8_t *p, size_t n)
{
	size_t room;

	while (n > 0 && d->runs && !d->ended) {
		room = engine_program_room(d->e);
		PT_ASSERT(room <= ENGINE_OUTPUT_MAX);
		if (room == 0) {
			if (engine_output(d->e).n == 0)
				return; /* behind the go-ahead or the end */
			drain(d, SIZE_MAX);
			continue;
		}
		if (room > n)
			room = n;
		add(&d->written, &d->nwritten, p, room);
		engine_program_output(d->e, p, room, d->now_ms);
		PT_ASSERT(engine_output(d->e).n <= ENGINE_OUTPUT_MAX);
		take_events(d);
		p += room;
		n -= room;
	}
}

static void
program_step(struct drive *d)
{
	if (d->wanted && !d->runs && !d->ended) {
		if (bit(d)) {
			d->runs = true;
			engine_program_started(d->e, d->now_ms);
		} else {
			d->ended = true;
			engine_program_refused(d->e, bit(d) ? ENGINE_NO_PROGRAM_BUSY : ENGINE_NO_PROGRAM_FAILED);
		}
	} else if (d->runs && !d->ended) {
		d->ended = true;
		engine_program_ended(d->e);
	}
}

static void
step(struct drive *d, uint8_t action)
{
	uint64_t next_ms;

	switch (action) {
	case 0:
		d->now_ms += 100;
		break;
	case 1:
		d->now_ms += IDLE_MS;
		break;
	case 2:
		engine_end_of_input(d->e);
		break;
	case 3:
		engine_bye(d->e, ENGINE_BYE_SHUTDOWN);
		d->bye = true; /* what comes now is taken, and nobody's */
		break;
	case 4:
		drain(d, SIZE_MAX);
		break;
	case 5:
		drain(d, 7);
		break;
	case 6:
		if (d->asked)
			answer(d);
		break;
	case 7:
	case 8:
		program_step(d);
		break;
	case 9:
		feed(d, 5);
		break;
	case 10:
		engine_bye(d->e, ENGINE_BYE_CERTIFICATE);
		d->bye = true;
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

static void
check_relay(struct drive *d)
{
	if (!d->tls)
		return;
	if (d->runs && !d->ended)
		feed(d, SIZE_MAX);
	if (d->runs && !d->ended && !d->closed)
		PT_ASSERT(d->nreceived == d->nsent && d->received == d->sent);
	PT_ASSERT(d->nreceived <= d->nsent);
	drain(d, SIZE_MAX);
	/* texts of ours come behind, at the end, or where there never was a program */
	if (!d->shaped && !d->closed)
		PT_ASSERT(d->nsaid == d->nwritten && d->said == d->written);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct exec_capability capabilities[] = {
		{ EXEC_BEFORE, "250-STARTTLS", "250 *", "EHLO*" },
		{ EXEC_AFTER, "STLS", "+OK*", NULL },
		{ EXEC_APPEND, " STARTTLS", "* CAP*", "?CAP*" },
	};
	static const char *const plaintext[] = { "EHLO*", "?CAP*", "Q*" };
	struct exec_conf exec = { .keyword = "STARTTLS", .reply = "OK", .plaintext = plaintext,
		.nplaintext = PT_COUNT(plaintext), .capabilities = capabilities, .linger_ms = 2000 };
	struct engine_conf conf = { .hostname = "h", .service = "fuzz", .idle_timeout_ms = IDLE_MS, .exec = &exec };
	struct engine_peer peer = { .verdict = "none" };
	struct drive d = { .now_ms = 1000 };
	enum engine_offer offer;
	enum engine_start start;
	size_t i, n;
	uint8_t c;

	if (size < 2)
		return 0;
	d.tls = peer.tls = (data[0] & 1) != 0;
	offer = d.tls ? ENGINE_OFFER_NONE : (data[0] & 2) != 0 ? ENGINE_OFFER_STARTTLS : ENGINE_OFFER_REQUIRED;
	exec.at_once = (data[0] & 4) != 0;
	exec.ncapabilities = (data[0] & 8) != 0 ? PT_COUNT(capabilities) : 0;
	exec.banner = (data[0] & 16) != 0 ? "220 *" : NULL;
	exec.needs_login = (data[0] & 32) != 0;
	peer.identity = (data[0] & 64) != 0 ? "alice" : NULL;
	start = (data[0] & 128) == 0 ? ENGINE_GREET : d.tls ? ENGINE_UPGRADED : ENGINE_RESTARTED;
	d.shaped = start == ENGINE_UPGRADED && exec.banner != NULL;
	d.answer = data[1];
	if ((d.e = exec_protocol.new(&conf, start, offer, &peer, d.now_ms)) == NULL)
		return 0;
	take_events(&d);
	PT_ASSERT(d.tls || exec.at_once || !d.wanted);
	for (i = 2; i < size; i += n) {
		c = data[i++];
		n = 0;
		if (c >= 0xf0) {
			step(&d, c & 15);
			continue;
		}
		n = (c & 0x7f) < 0x40 ? (size_t)(c & 0x3f) : (size_t)(c & 0x3f) * 256;
		if (n > size - i)
			n = size - i;
		if (c < 0x80)
			client_sends(&d, data + i, n);
		else
			program_writes(&d, data + i, n);
		step(&d, 15);
		PT_ASSERT(d.tls || exec.at_once || !d.wanted);
	}
	check_relay(&d);
	engine_free(&d.e);
	return 0;
}
