/* script/ask.c - see ask.h. */
#include "ask.h"

#include "util/base64.h"

#include <stdio.h>
#include <string.h>

#define BODY_MAX (128 * 1024 * 1024)

static size_t
sink_room(void *arg)
{
	const struct ask_script *s = arg;

	return s->room;
}

static void
sink_put(void *arg, const uint8_t *p, size_t n)
{
	struct ask_script *s = arg;

	PT_ASSERT(s->live && n <= s->room && buf_append(&s->body, p, n) == 0);
}

static void
sink_drop(void *arg)
{
	struct ask_script *s = arg;

	PT_ASSERT(s->live);
	s->live = s->looked = false;
	s->drops++;
	buf_fini(&s->body);
}

static const struct ask_sink_ops sink_ops = { sink_room, sink_put, sink_drop };

void
ask_script_init(struct ask_script *s)
{
	memset(s, 0, sizeof(*s));
	buf_init(&s->body, BODY_MAX);
	s->room = SIZE_MAX;
}

void
ask_script_fini(struct ask_script *s)
{
	buf_fini(&s->body);
}

static size_t
add(char *out, size_t at, const char *before, struct span s, const char *after)
{
	int n = snprintf(out + at, ASK_WORDS_MAX - at, "%s%.*s%s", before, (int)s.n,
			 s.n > 0 ? (const char *)s.p : "", after);

	PT_ASSERT(n >= 0 && (size_t)n < ASK_WORDS_MAX - at);
	return at + (size_t)n;
}

static size_t
add_envelope(char *out, size_t at, const struct ask_envelope *env)
{
	char number[32];
	size_t i;

	at = add(out, at, " <", env->sender, ">");
	for (i = 0; i < env->nrecipients; i++)
		at = add(out, at, " <", env->recipients[i], ">");
	if (env->declared > 0) {
		snprintf(number, sizeof(number), " size=%llu", (unsigned long long)env->declared);
		at = add(out, at, number, (struct span){ NULL, 0 }, "");
	}
	return add(out, at, env->utf8 ? " utf8" : "", (struct span){ NULL, 0 },
		   env->each ? " each" : "");
}

const char *
ask_words(const struct ask *ask, char out[ASK_WORDS_MAX])
{
	struct buf text;
	size_t n = add(out, 0, ask_kind_name(ask->kind), (struct span){ NULL, 0 }, "");

	switch (ask->kind) {
	case ASK_IDENTITY:
	case ASK_RECIPIENT:
	case ASK_SENDER:
		add(out, n, " ", ask->address, "");
		break;
	case ASK_SASL:
		buf_init(&text, ASK_WORDS_MAX);
		PT_ASSERT(base64_encode(&text, ask->data) == 0);
		n = add(out, n, " ", span_str(ask->mechanism == NULL ? "-" : ask->mechanism), " ");
		add(out, n, "", ask->data.n == 0 ? span_str("=") : buf_span(&text), "");
		buf_fini(&text);
		break;
	case ASK_BODY:
		add_envelope(out, n, ask->envelope);
		break;
	default:
		snprintf(out + n, ASK_WORDS_MAX - n, " %llu", (unsigned long long)ask->octets);
	}
	return out;
}

const char *
ask_note_words(const struct note *note, char out[ASK_WORDS_MAX])
{
	const struct {
		const char *name, *value;
	} facts[] = { { " user=", note->user }, { " by=", note->mechanism }, { " id=", note->id } };
	size_t i, n = add(out, 0, "note ", span_str(note_kind_name(note->kind)), "");

	if (note->reply.n > 0)
		n = add(out, n, " ", note->reply, "");
	if (note->address.n > 0)
		n = add(out, n, " address=", note->address, "");
	for (i = 0; i < PT_COUNT(facts); i++)
		if (facts[i].value != NULL)
			n = add(out, n, facts[i].name, span_str(facts[i].value), "");
	if (note->envelope == NULL)
		return out;
	n = add_envelope(out, n, note->envelope);
	for (i = 0; note->results != NULL && i < note->envelope->nrecipients; i++)
		n = add(out, n, " ", span_str(ask_result_name(note->results[i])), "");
	snprintf(out + n, ASK_WORDS_MAX - n, " octets=%llu", (unsigned long long)note->octets);
	return out;
}

/* The next word of *words to out; false when there is none. */
static bool
word(const char **words, char *out, size_t cap)
{
	size_t n;

	*words += strspn(*words, " ");
	n = strcspn(*words, " ");
	if (n == 0 || n >= cap)
		return false;
	memcpy(out, *words, n);
	out[n] = '\0';
	*words += n;
	return true;
}

static bool
result_find(const char *name, enum ask_result *out)
{
	unsigned i;

	for (i = 0; i < ASK_RESULT_COUNT; i++) {
		if (strcmp(name, ask_result_name((enum ask_result)i)) == 0) {
			*out = (enum ask_result)i;
			return true;
		}
	}
	return false;
}

static bool
answer_sasl(struct ask_script *s, const char *words, struct ask_reply *out)
{
	char text[ASK_WORDS_MAX];
	size_t n = 0;

	if (out->result != ASK_MORE) {
		if (word(&words, s->user, sizeof(s->user)))
			out->user = s->user;
		else if (out->result == ASK_OK)
			return false;
	}
	if (word(&words, text, sizeof(text)) && strcmp(text, "=") != 0 &&
	    !base64_decode(span_str(text), s->data, sizeof(s->data), &n))
		return false;
	out->text = (struct span){ s->data, n };
	return true;
}

static bool
answer_commit(struct ask_script *s, const char *words, struct ask_reply *out)
{
	char name[32];
	size_t n = 0;

	s->live = false;
	s->each[n++] = out->result;
	for (; word(&words, name, sizeof(name)); n++)
		if (n == ASK_RECIPIENTS_MAX || !result_find(name, &s->each[n]))
			return false;
	out->each = n > 1 ? s->each : NULL;
	return true;
}

bool
ask_answer(struct ask_script *s, enum ask_kind kind, const char *words, struct ask_reply *out)
{
	char name[32];

	*out = (struct ask_reply){ .result = ASK_OK };
	if (!word(&words, name, sizeof(name)) || !result_find(name, &out->result))
		return false;
	switch (kind) {
	case ASK_IDENTITY:
	case ASK_SASL:
		return answer_sasl(s, words, out);
	case ASK_COMMIT:
		return answer_commit(s, words, out);
	case ASK_BODY:
		if (out->result == ASK_OK) {
			buf_fini(&s->body);
			s->live = true;
			s->looked = false;
		}
		out->sink = (struct ask_sink){ &sink_ops, s };
		out->id = ASK_ID;
		out->now_s = ASK_NOW;
		return *words == '\0';
	case ASK_SENDER: /* the addresses that may be used */
		words += strspn(words, " ");
		out->text = span_str(words);
		return true;
	default:
		return *words == '\0';
	}
}

bool
ask_automatic(struct ask_script *s, const char *words)
{
	char name[32];
	unsigned i;

	for (s->automatic = 0; word(&words, name, sizeof(name)); s->automatic |= 1u << i) {
		for (i = 0; i < ASK_KIND_COUNT; i++)
			if (strcmp(name, ask_kind_name((enum ask_kind)i)) == 0)
				break;
		if (i == ASK_KIND_COUNT)
			return false;
	}
	return true;
}
