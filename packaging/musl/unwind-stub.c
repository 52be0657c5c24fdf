/*
 * Debian has no unwinder for musl, and a program built with panic=abort never
 * unwinds. std refers to these two only to print a backtrace: there is none.
 */
int _Unwind_Backtrace(void *callback, void *argument)
{
    (void)callback;
    (void)argument;
    return 5; /* _URC_END_OF_STACK */
}

void *_Unwind_GetIP(void *context)
{
    (void)context;
    return 0;
}
