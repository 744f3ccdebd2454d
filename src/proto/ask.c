/* proto/ask.c - the names of questions, results and notes. */
#include "proto/ask.h"

#include "util/err.h"

const char *
ask_kind_name(enum ask_kind kind)
{
	static const char *const names[ASK_KIND_COUNT] = {
		[ASK_IDENTITY] = "identity",
		[ASK_RECIPIENT] = "recipient", [ASK_SENDER] = "sender", [ASK_SASL] = "sasl",
		[ASK_BODY] = "body",           [ASK_COMMIT] = "commit",
	};

	PT_ASSERT((unsigned)kind < ASK_KIND_COUNT);
	return names[kind];
}

const char *
ask_result_name(enum ask_result result)
{
	static const char *const names[ASK_RESULT_COUNT] = {
		[ASK_OK] = "ok",           [ASK_MORE] = "more",
		[ASK_TEMP] = "temporary",  [ASK_UNKNOWN] = "unknown",
		[ASK_ELSEWHERE] = "elsewhere", [ASK_DENIED] = "denied",
		[ASK_OVERQUOTA] = "over-quota", [ASK_FULL] = "full",
		[ASK_MALFORMED] = "malformed", [ASK_OTHER] = "other",
		[ASK_LIMITED] = "limited",
	};

	PT_ASSERT((unsigned)result < ASK_RESULT_COUNT);
	return names[result];
}

const char *
note_kind_name(enum note_kind kind)
{
	static const char *const names[NOTE_KIND_COUNT] = {
		[NOTE_MESSAGE] = "message",
		[NOTE_DISCARDED] = "discarded",
		[NOTE_LOGIN] = "login",
		[NOTE_LOGIN_FAILED] = "login-failed",
		[NOTE_SENDER_REFUSED] = "sender-refused",
		[NOTE_RECIPIENT_REFUSED] = "recipient-refused",
		[NOTE_EARLY_TALKER] = "early-talker",
	};

	PT_ASSERT((unsigned)kind < NOTE_KIND_COUNT);
	return names[kind];
}
