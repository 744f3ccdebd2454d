/* proc/spawn_main.h - posternd in the role of the spawn process; does not return. */
#ifndef PROC_SPAWN_MAIN_H
#define PROC_SPAWN_MAIN_H

int spawn_main(int argc, char **argv);

#endif
