/* rec/rec_json.c - see rec_json.h. */
#include "rec/rec_json.h"

#include "rec/why.h"
#include "tls/tls_hello.h"
#include "tls/tls_verdict.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define US_PER_S 1000000u

/* Members that are missing when there is nothing to say. */
static void
put_text(json_t *o, const char *name, const char *text)
{
	if (text != NULL && text[0] != '\0')
		json_object_set_new(o, name, json_string(text));
}

static void
put_number(json_t *o, const char *name, uint64_t n)
{
	json_object_set_new(o, name, json_integer((json_int_t)(n & INT64_MAX)));
}

static void
put_some(json_t *o, const char *name, uint64_t n)
{
	if (n > 0)
		put_number(o, name, n);
}

/* RFC 3339; a time that no calendar has is left out. */
static void
put_time(json_t *o, const char *name, int64_t seconds)
{
	time_t t = (time_t)seconds;
	struct tm tm;
	char text[64];

	if (gmtime_r(&t, &tm) != NULL && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm) > 0)
		put_text(o, name, text);
}

static void
put_time_us(json_t *o, const char *name, uint64_t us)
{
	time_t t = (time_t)(us / US_PER_S);
	struct tm tm;
	char day[40], text[64];

	if (gmtime_r(&t, &tm) == NULL || strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
		return;
	snprintf(text, sizeof text, "%s.%06uZ", day, (unsigned)(us % US_PER_S));
	put_text(o, name, text);
}

/* --- steps ------------------------------------------------------------------------------------- */

static const char *
step_word(enum rec_step_kind kind)
{
	static const char *const words[] = {
#define KIND(name, words) #name,
		REC_STEP_KINDS(KIND)
#undef KIND
	};

	return words[kind];
}

/* "ClientHello", "alert unknown_ca (48)", "certificate judged: expired". */
static void
step_text(const struct rec_step *s, char *out, size_t cap)
{
	const char *name;

	switch ((enum rec_step_kind)s->kind) {
	case REC_STEP_HANDSHAKE:
		if ((name = rec_message_name(s->number)) != NULL)
			snprintf(out, cap, "%s", name);
		else
			snprintf(out, cap, "handshake message %u", s->number);
		return;
	case REC_STEP_ALERT:
		name = rec_alert_name(s->number);
		snprintf(out, cap, "alert %s (%u)", name != NULL ? name : "unknown", s->number);
		return;
	case REC_STEP_VERDICT:
		snprintf(out, cap, "certificate judged: %s", s->number < TLS_VERDICT_COUNT
			? tls_verdict_name((enum tls_verdict)s->number) : "unknown");
		return;
	case REC_STEP_PROGRAM_EXIT:
	case REC_STEP_PROGRAM_SIGNAL:
		snprintf(out, cap, "%s %u", rec_step_words((enum rec_step_kind)s->kind), s->number);
		return;
	default:
		snprintf(out, cap, "%s", rec_step_words((enum rec_step_kind)s->kind));
	}
}

static bool
has_number(enum rec_step_kind kind)
{
	return kind == REC_STEP_HANDSHAKE || kind == REC_STEP_ALERT || kind == REC_STEP_PROGRAM_EXIT ||
		kind == REC_STEP_PROGRAM_SIGNAL;
}

static json_t *
step_json(const struct rec_step *s)
{
	static const char *const ways[] = { "none", "in", "out" };
	char text[96], word[32];
	json_t *o;
	char *p;

	step_text(s, text, sizeof text);
	snprintf(word, sizeof word, "%s", step_word((enum rec_step_kind)s->kind));
	for (p = word; *p != '\0'; p++)
		*p = *p == '_' ? '-' : *p >= 'A' && *p <= 'Z' ? (char)(*p + ('a' - 'A')) : *p;
	o = json_pack("{s:I, s:s, s:s, s:s}", "us", (json_int_t)rec_step_us(s), "way", ways[s->way], "kind", word,
		"text", text);
	if (o != NULL && has_number((enum rec_step_kind)s->kind))
		put_number(o, "number", s->number);
	if (o != NULL && s->kind == REC_STEP_HANDSHAKE)
		put_number(o, "size", s->size);
	return o;
}

static json_t *
steps_json(const struct rec *r, unsigned from)
{
	json_t *a = json_array();
	unsigned i;

	for (i = from; i < r->nsteps; i++)
		json_array_append_new(a, step_json(&r->steps[i]));
	return a;
}

/* --- facts ------------------------------------------------------------------------------------- */

static json_t *
certificate_json(const struct rec *r)
{
	char serial[2 * REC_SERIAL_MAX + 1] = "";
	json_t *o = json_object();
	size_t i;

	for (i = 0; i < r->nserial; i++)
		snprintf(serial + 2 * i, 3, "%02X", r->serial[i]);
	put_text(o, "subject", r->subject);
	put_text(o, "issuer", r->issuer);
	put_text(o, "names", r->sans);
	put_text(o, "serial", serial);
	put_time(o, "not_before", r->not_before);
	put_time(o, "not_after", r->not_after);
	put_number(o, "chain", r->chain);
	json_object_set_new(o, "self_signed", json_boolean(r->flags & REC_F_SELF_SIGNED));
	json_object_set_new(o, "known", json_boolean(r->flags & REC_F_KNOWN));
	return o;
}

static json_t *
tls_json(const struct rec *r)
{
	json_t *o = json_object();

	put_text(o, "version", rec_version_word(r->version));
	put_text(o, "cipher", r->cipher);
	put_text(o, "group", r->group);
	put_text(o, "signature", r->signature);
	put_text(o, "server_name", r->sni);
	put_text(o, "name", r->domain);
	put_text(o, "alpn", r->alpn);
	put_text(o, "offered_least", rec_version_word(r->offered_min));
	put_text(o, "offered_most", rec_version_word(r->offered_max));
	put_some(o, "offered_suites", r->offered_suites);
	json_object_set_new(o, "established", json_boolean(r->flags & REC_F_SECURED));
	json_object_set_new(o, "resumed", json_boolean(r->flags & REC_F_RESUMED));
	put_some(o, "tickets", r->tickets);
	put_some(o, "renegotiations", r->renegotiations);
	put_some(o, "key_updates", r->key_updates);
	put_some(o, "restarts", r->restarts);
	if (r->flags & REC_F_ALERT_SENT)
		put_number(o, "alert_sent", r->alert_sent);
	if (r->flags & REC_F_ALERT_GOT)
		put_number(o, "alert_received", r->alert_got);
	return o;
}

static char *
text_of(const struct rec *r, int (*put)(const struct rec *r, struct buf *out))
{
	struct buf b;
	char *s = NULL;

	buf_init(&b, WHY_SENTENCE_MAX);
	if (put(r, &b) == 0 && buf_append(&b, "", 1) == 0)
		s = strdup((const char *)buf_span(&b).p);
	buf_fini(&b);
	return s;
}

json_t *
rec_json_why(const struct rec *r)
{
	const struct why *w;
	char *sentence, *what, *next;
	json_t *o;

	if (r->code == WHY_NOTHING)
		return json_null();
	w = why_row((enum why_code)r->code);
	sentence = text_of(r, why_sentence_put);
	what = text_of(r, why_what_put);
	next = text_of(r, why_next_put);
	o = json_pack("{s:s, s:s, s:s, s:s*, s:s*, s:s*}", "code", w->word, "side", why_side_word(w->side), "kind",
		why_kind_word(why_kind(r)), "sentence", sentence, "what", what, "next", next);
	free(sentence);
	free(what);
	free(next);
	return o;
}

static void
put_ends(json_t *o, const struct rec *r)
{
	char text[REC_ADDR_TEXT_MAX];

	put_text(o, "peer", rec_addr_text(&r->peer, text));
	put_text(o, "local", rec_addr_text(&r->local, text));
	put_text(o, "service", r->service);
	put_text(o, "mode", rec_mode_word((enum rec_mode)r->mode));
	put_text(o, "client_certificate", rec_client_cert_word((enum rec_client_cert)r->client_cert));
	put_number(o, "pid", r->pid);
	put_number(o, "generation", r->generation);
}

json_t *
rec_json(const struct rec *r, unsigned from)
{
	char id[REC_ID_TEXT_MAX];
	json_t *o = json_object();

	put_text(o, "id", rec_id_text(r->id, id));
	put_time_us(o, "time", r->start_us);
	json_object_set_new(o, "open", json_boolean(r->flags & REC_F_OPEN));
	put_text(o, "phase", rec_phase_word((enum rec_phase)r->phase));
	put_number(o, "us", r->end_us);
	put_ends(o, r);
	put_number(o, "octets_in", r->octets_in);
	put_number(o, "octets_out", r->octets_out);
	if (r->repeats > 0) {
		put_number(o, "repeats", r->repeats);
		put_time_us(o, "first_time", r->first_us);
	}
	json_object_set_new(o, "tls", tls_json(r));
	if (r->chain > 0)
		json_object_set_new(o, "certificate", certificate_json(r));
	put_text(o, "verdict", tls_verdict_name((enum tls_verdict)r->verdict));
	put_text(o, "user", r->user);
	json_object_set_new(o, "why", rec_json_why(r));
	json_object_set_new(o, "partial", json_boolean(r->flags & REC_F_PARTIAL));
	put_some(o, "steps_skipped", r->skipped);
	json_object_set_new(o, "steps", steps_json(r, from));
	return o;
}
