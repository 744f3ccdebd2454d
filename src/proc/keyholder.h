/* proc/keyholder.h - posternd in the role of the keyholder; does not return. */
#ifndef PROC_KEYHOLDER_H
#define PROC_KEYHOLDER_H

int keyholder_main(int argc, char **argv);

#endif
