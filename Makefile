# appfwd: install, demonstrate, test. Run as root on Debian 12 or 13.

PYTHON   ?= /usr/bin/python3
DESTDIR  ?=
PREFIX   ?= /usr
VENV     ?= .venv
SITE     ?= $(DESTDIR)$(PREFIX)/lib/python3/dist-packages
SHARE    := $(DESTDIR)$(PREFIX)/share
SYSTEMD  ?= $(DESTDIR)/usr/lib/systemd/system
# Of users: enabled for every desktop session, where one asks.
USERS    ?= $(DESTDIR)/usr/lib/systemd/user
JOBS     ?= $(shell nproc)
PYTEST   := $(VENV)/bin/python -m pytest

# What the daemon needs at run time.
RUNTIME  := python3-nftables python3-systemd python3-dbus-next python3-pyroute2 python3-setools \
            nftables policycoreutils dbus polkitd

.PHONY: all install uninstall test demo bench lint tools clean

all:
	@echo "make demo | make test | make install | make bench"

install:
	@command -v semodule >/dev/null && $(PYTHON) -c 'import nftables, dbus_next, pyroute2, setools, systemd' \
	  || { apt-get -q update && apt-get -q -y install $(RUNTIME); }
	install -d $(SITE) $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin
	rm -rf $(SITE)/appfwd
	cp -r --no-preserve=ownership appfwd $(SITE)/appfwd
	find $(SITE)/appfwd -name __pycache__ -prune -exec rm -rf {} +
	$(PYTHON) -m compileall -q $(SITE)/appfwd
	printf '#!/usr/bin/python3 -I\nimport sys\n\nfrom appfwd.daemon import main\n\nsys.exit(main())\n' \
	  > $(DESTDIR)$(PREFIX)/sbin/appfwd
	printf '#!/usr/bin/python3 -I\nimport sys\n\nfrom appfwd.cli.main import main\n\nsys.exit(main())\n' \
	  > $(DESTDIR)$(PREFIX)/sbin/appfwctl
	printf '#!/usr/bin/python3 -I\nimport sys\n\nfrom appfwd.agent.main import main\n\nsys.exit(main())\n' \
	  > $(DESTDIR)$(PREFIX)/bin/appfwd-agent
	chmod 755 $(DESTDIR)$(PREFIX)/sbin/appfwd $(DESTDIR)$(PREFIX)/sbin/appfwctl \
	  $(DESTDIR)$(PREFIX)/bin/appfwd-agent
	install -D -m 644 dbus/org.appfwd1.conf $(SHARE)/dbus-1/system.d/org.appfwd1.conf
	install -D -m 644 dbus/org.appfwd1.service $(SHARE)/dbus-1/system-services/org.appfwd1.service
	install -D -m 644 dbus/org.appfwd1.Manager.xml \
	  $(SHARE)/dbus-1/interfaces/org.appfwd1.Manager.xml
	install -D -m 644 dbus/org.appfwd1.policy $(SHARE)/polkit-1/actions/org.appfwd1.policy
	install -D -m 644 systemd/appfwd.service $(SYSTEMD)/appfwd.service
	install -D -m 644 systemd/appfwd-boot.service $(SYSTEMD)/appfwd-boot.service
	install -D -m 644 systemd/appfwd-agent.service $(USERS)/appfwd-agent.service
	install -d $(USERS)/graphical-session.target.wants
	ln -sf ../appfwd-agent.service $(USERS)/graphical-session.target.wants/appfwd-agent.service
	install -D -m 644 docs/appfwctl.8 $(SHARE)/man/man8/appfwctl.8
	install -D -m 644 docs/completion/appfwctl.bash \
	  $(SHARE)/bash-completion/completions/appfwctl
	install -D -m 644 docs/completion/_appfwctl $(SHARE)/zsh/vendor-completions/_appfwctl
	install -D -m 644 docs/completion/appfwctl.fish \
	  $(SHARE)/fish/vendor_completions.d/appfwctl.fish
	install -D -m 644 systemd/appfwd_daemon.cil $(SHARE)/appfwd/appfwd_daemon.cil
	@[ -n "$(DESTDIR)" ] || ! [ -d /sys/fs/selinux/class ] || \
	  cmp -s systemd/appfwd_daemon.cil /var/lib/appfwd/.daemon.cil || \
	  { echo "loading the daemon's own domain into the policy" && \
	    semodule -X 400 -i $(SHARE)/appfwd/appfwd_daemon.cil && \
	    install -D -m 600 systemd/appfwd_daemon.cil /var/lib/appfwd/.daemon.cil; }
	-[ -n "$(DESTDIR)" ] || ! command -v restorecon >/dev/null || restorecon -R \
	  /var/lib/appfwd $(SITE)/appfwd $(PREFIX)/sbin/appfwd $(PREFIX)/sbin/appfwctl $(SYSTEMD)/appfwd.service \
	  $(SYSTEMD)/appfwd-boot.service
	-[ -n "$(DESTDIR)" ] || ! [ -d /run/systemd/system ] || { systemctl daemon-reload && \
	  systemctl reload dbus; ! systemctl -q is-enabled appfwd 2>/dev/null || systemctl -q enable appfwd; }

uninstall:
	-systemctl disable appfwd 2>/dev/null
	-appfwctl down --yes
	-systemctl stop appfwd 2>/dev/null
	-semodule -X 400 -r appfwd_daemon && rm -f /var/lib/appfwd/.daemon.cil
	rm -rf $(SHARE)/appfwd
	rm -rf $(SITE)/appfwd $(DESTDIR)$(PREFIX)/sbin/appfwd $(DESTDIR)$(PREFIX)/sbin/appfwctl
	rm -f $(DESTDIR)$(PREFIX)/bin/appfwd-agent $(USERS)/appfwd-agent.service \
	  $(USERS)/graphical-session.target.wants/appfwd-agent.service
	rm -f $(SHARE)/dbus-1/system.d/org.appfwd1.conf \
	  $(SHARE)/dbus-1/system-services/org.appfwd1.service \
	  $(SHARE)/dbus-1/interfaces/org.appfwd1.Manager.xml \
	  $(SHARE)/polkit-1/actions/org.appfwd1.policy $(SYSTEMD)/appfwd.service \
	  $(SYSTEMD)/appfwd-boot.service \
	  $(SHARE)/man/man8/appfwctl.8 $(SHARE)/bash-completion/completions/appfwctl \
	  $(SHARE)/zsh/vendor-completions/_appfwctl $(SHARE)/fish/vendor_completions.d/appfwctl.fish
	@echo "The stored guards and grants are still in /var/lib/appfwd."

# Everything that the tests and the demonstration run with; nothing is done when it is there.
GUEST_TOOLS := $(shell sed 's/[#].*//' tests/guest/apt-packages.txt)
TEST_TOOLS  := $(shell sed 's/[#].*//' tests/apt-packages.txt tests/*/apt-packages.txt | sort -u)

define need
@missing=$$(dpkg-query -W -f '$${Package} $${Status}\n' $(1) 2>/dev/null \
  | awk '/ok installed$$/ {print $$1}' | cat - <(printf '%s\n' $(1)) | sort | uniq -u); \
  [ -z "$$missing" ] || { echo "installing:" $$missing; \
  apt-get -q update >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get -q -y install \
  --no-install-recommends $$missing >/dev/null; }
endef
SHELL := /bin/bash

tools: $(VENV)/.made

$(VENV)/.made: tests/requirements.txt tests/apt-packages.txt
	$(call need,$(TEST_TOOLS))
	$(PYTHON) -m venv --system-site-packages $(VENV)
	$(VENV)/bin/python -m pip -q install -r tests/requirements.txt
	touch $@

lint: tools
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# Every tier. The guests are built beside those that need none; they wait more than they work, so
# they get a worker more than there are processors.
test: lint
	$(call need,$(TEST_TOOLS))
	@$(PYTHON) -m tests.guest & guest=$$!; failed=; \
	$(PYTEST) -n $$(($(JOBS) + 1)) --dist loadfile --ignore=tests/guest || failed=1; \
	wait $$guest || echo "making a guest failed: the tests that need it try again"; \
	$(PYTEST) -n $(JOBS) --dist loadfile tests/guest || failed=1; \
	[ -z "$$failed" ]

# One tier: make tier-core, tier-bus, tier-adapters, tier-cli, tier-guest
tier-%: tools
	$(PYTEST) -n $(JOBS) --dist loadfile tests/$*

# make demo [DEMO=main]: the main job on a real SELinux kernel in a guest.
DEMO ?= main
demo:
	$(call need,$(GUEST_TOOLS) python3)
	$(PYTHON) -m tests.demo $(DEMO)

# make bench [BENCH="changes latency native live rest packets bare layouts ends prompts"] [HELD=0,1000,10000,100000]
# HELD: numbers of grants held, for latency; without 100000 it takes ten minutes less.
HELD ?= 0,1000,10000,100000
bench: tools
	APPFWD_BENCH_HELD=$(HELD) $(VENV)/bin/python -m tests.bench $(BENCH)

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
