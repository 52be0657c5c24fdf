#!/bin/sh
# AWS's package takes the link away when it goes, which is after our files have come.
link=/usr/local/bin/session-manager-plugin
[ -L "$link" ] || ln -s /usr/local/sessionmanagerplugin/bin/session-manager-plugin "$link"
