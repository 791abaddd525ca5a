#!/bin/bash
# A person's graphical session: it lasts as long as its X server.
set -eu
screen=$XDG_RUNTIME_DIR/screen
mkdir "$screen"
mkfifo "$screen/display"
Xvfb ":$XDG_VTNR" -screen 0 1024x768x24 -fbdir "$screen" -extension GLX -nolisten tcp \
    -displayfd 3 3> "$screen/display" &
read -r number < "$screen/display"
export DISPLAY=:$number
systemctl --user import-environment DISPLAY XDG_SESSION_ID XDG_SESSION_TYPE XDG_SEAT XDG_VTNR
trap 'systemctl --user stop appfwd-lab-desktop.target; rm -r "$screen"' EXIT
systemctl --user start appfwd-lab-desktop.target
wait
