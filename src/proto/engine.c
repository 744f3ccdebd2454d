/* proto/engine.c - calls through an engine's table, and the names of the reasons to close.
 *
 * What every protocol must keep is asserted here, so that no engine has to. */
#include "proto/engine.h"

#include "util/err.h"

const char *
engine_close_text(enum engine_close why)
{
	static const char *const texts[] = {
#define ENGINE_CLOSE_TEXT(name, text) [ENGINE_CLOSE_##name] = (text),
		ENGINE_CLOSES(ENGINE_CLOSE_TEXT)
#undef ENGINE_CLOSE_TEXT
	};

	PT_ASSERT((size_t)why < PT_COUNT(texts));
	return texts[why];
}

size_t
engine_input(struct engine *e, const uint8_t *buf, size_t len, uint64_t now_ms)
{
	size_t taken;

	if (len == 0)
		return 0;
	taken = e->ops->input(e, buf, len, now_ms);
	PT_ASSERT(taken <= len);
	return taken;
}

struct span
engine_output(const struct engine *e)
{
	struct span out = e->ops->output(e);

	PT_ASSERT(out.n <= ENGINE_OUTPUT_MAX);
	return out;
}

void
engine_output_done(struct engine *e, size_t n)
{
	e->ops->output_done(e, n);
}

bool
engine_event(struct engine *e, struct engine_event *ev_out)
{
	return e->ops->event(e, ev_out);
}

void
engine_answer(struct engine *e, enum engine_answer answer, uint64_t now_ms)
{
	e->ops->answer(e, answer, now_ms);
}

void
engine_reply(struct engine *e, const struct ask_reply *reply, uint64_t now_ms)
{
	PT_ASSERT(e->ops->reply != NULL);
	e->ops->reply(e, reply, now_ms);
}

uint64_t
engine_tick(struct engine *e, uint64_t now_ms)
{
	return e->ops->tick(e, now_ms);
}

void
engine_end_of_input(struct engine *e)
{
	e->ops->end_of_input(e);
}

void
engine_bye(struct engine *e, enum engine_bye why)
{
	PT_ASSERT((unsigned)why < ENGINE_BYE_COUNT);
	e->ops->bye(e, why);
}

bool
engine_has_program(const struct engine *e)
{
	return e->ops->program != NULL;
}

void
engine_program_started(struct engine *e, uint64_t now_ms)
{
	e->ops->program->started(e, now_ms);
}

void
engine_program_refused(struct engine *e, enum engine_no_program why)
{
	e->ops->program->refused(e, why);
}

struct span
engine_to_program(const struct engine *e)
{
	return e->ops->program->to(e);
}

void
engine_to_program_done(struct engine *e, size_t n)
{
	e->ops->program->to_done(e, n);
}

size_t
engine_program_room(const struct engine *e)
{
	size_t room = e->ops->program->room(e);

	PT_ASSERT(room <= ENGINE_OUTPUT_MAX);
	return room;
}

void
engine_program_output(struct engine *e, const uint8_t *buf, size_t len, uint64_t now_ms)
{
	PT_ASSERT(len <= e->ops->program->room(e));
	e->ops->program->output(e, buf, len, now_ms);
}

void
engine_program_ended(struct engine *e)
{
	e->ops->program->ended(e);
}

void
engine_free(struct engine **e)
{
	if (*e == NULL)
		return;
	(*e)->ops->free(e);
	*e = NULL;
}
