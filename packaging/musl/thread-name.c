/*
 * Names the calling thread, which is all that std does with it. musl's own can name any
 * thread, by a path in /proc that it makes with printf: 12 KB that nothing else needs.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>

int pthread_setname_np(pthread_t thread, const char *name)
{
    if (strlen(name) > 15)
        return ERANGE;
    if (!pthread_equal(thread, pthread_self()))
        return ENOSYS;
    return prctl(PR_SET_NAME, name, 0, 0, 0) != 0 ? errno : 0;
}
