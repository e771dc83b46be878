#!/bin/sh
# Installs the real servers that the tests talk to, and Node, where they are missing: Debian packages, as root.
# Elsewhere it says what to install and which tests are left out; with CI=true that is a failure. The distribution's own
# services are not started: each test run starts its own, on free ports, in temporary folders.
set -eu

have() { command -v "$1" >/dev/null 2>&1; }

have_postgresql() {
    have postgres && have initdb && return 0
    for program in /usr/lib/postgresql/*/bin/postgres; do
        if [ -x "$program" ]; then return 0; fi
    done
    return 1
}

# Chromium without a desktop takes a third of the CPU; any other Chromium does as well.
have_headless_chromium() { have chromium-headless-shell || ! apt-cache show chromium-headless-shell >/dev/null 2>&1; }
have_chromium() { have chromium-headless-shell || have chromium || have chromium-browser || have google-chrome || have google-chrome-stable; }
have_firefox() { have firefox-esr || have firefox; }

# The front end's checks need Node 20.19, as frontend/package.json says.
have_node() {
    have node || return 1
    version=$(node -p 'const [major, minor] = process.versions.node.split("."); major * 100 + Number(minor)')
    [ "$version" -ge 2019 ]
}

# Without a font for them, Chinese characters are boxes in the browser's pictures; no test fails for it.
have_chinese_font() { ! have fc-list || [ -n "$(fc-list :lang=zh-cn 2>/dev/null | head -n 1)" ]; }

missing() {
    if ! have redis-server && ! have valkey-server; then echo redis-server; fi
    if ! have_postgresql; then echo postgresql; fi
    if ! have pgbouncer; then echo pgbouncer; fi
    if ! have nginx; then echo nginx; fi
    if ! have caddy; then echo caddy; fi
    if ! have promtool; then echo prometheus; fi
    if ! have_chromium; then echo chromium; fi
    if ! have_firefox; then echo firefox-esr; fi
    if ! have_node; then echo nodejs; fi
    if ! have npm; then echo npm; fi
    if ! have msgfmt; then echo gettext; fi
    if ! have systemd-analyze; then echo systemd; fi
}

tests_of() {
    case $1 in
        redis-server) echo "tests that use a real Redis" ;;
        postgresql) echo "tests that use a real PostgreSQL" ;;
        pgbouncer) echo "the test that goes through PgBouncer" ;;
        nginx) echo "tests that go through nginx" ;;
        caddy) echo "the tests that go through Caddy" ;;
        prometheus) echo "the tests of the alert rules, with its promtool" ;;
        chromium) echo "browser tests" ;;
        firefox-esr) echo "the page's tests in Firefox" ;;
        systemd) echo "the test that rates the units of deploy/" ;;
        gettext) echo "the recipes of CONTRIBUTING.md that compile translations" ;;
        nodejs | npm) echo "the front end's checks, which need Node 20.19 or newer (Debian 13, or nodesource.com)" ;;
    esac
}

# One program of a package, without its service and what only that needs: promtool is 48 MB on the disk (19 to fetch), the
# package with all that it needs 330; Caddy is 37 (9 to fetch).
install_program() {
    folder=$(mktemp -d) || return 1
    (
        cd "$folder" || exit 1
        apt-get download -q -o APT::Sandbox::User=root "$1" || exit 1
        dpkg-deb --fsys-tarfile "$1"_*.deb | tar -x "./usr/bin/$2" || exit 1
        install "usr/bin/$2" /usr/local/bin/
    ) && installed=0 || installed=1
    rm -rf "$folder"
    return $installed
}

install_packages() {
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        # Debian asks this file before it starts a freshly installed service.
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        trap 'rm -f "$policy"' EXIT
        trap 'exit 1' HUP INT TERM
    fi
    DEBIAN_FRONTEND=noninteractive
    export DEBIAN_FRONTEND
    apt-get update -q || return 1
    whole='' programs=''
    for package in $1; do
        case $package in
            caddy) programs="$programs caddy:caddy" ;;
            prometheus) programs="$programs prometheus:promtool" ;;
            *) whole="$whole $package" ;;
        esac
    done
    # shellcheck disable=SC2086  # a list of words
    [ -z "$whole" ] || apt-get install -q -y --no-install-recommends $whole || return 1
    for program in $programs; do
        install_program "${program%:*}" "${program#*:}" || return 1
    done
    if have systemctl; then
        for service in redis-server postgresql pgbouncer nginx; do
            case " $1 " in
                *" $service "*) systemctl disable "$service" || echo "could not disable the service $service" ;;
            esac
        done
    fi
}

packages=$(missing | tr '\n' ' ')
wanted=$packages
if ! have_headless_chromium; then wanted="$wanted chromium-headless-shell"; fi
if ! have_chinese_font; then wanted="$wanted fonts-noto-cjk"; fi

if [ -n "$wanted" ] && [ "$(id -u)" = 0 ] && have apt-get; then
    echo "Installing $wanted..."
    install_packages "$wanted" || echo "apt-get could not install all of: $wanted" >&2
    packages=$(missing | tr '\n' ' ')
fi

if [ -n "$packages" ]; then
    echo "Missing servers. On Debian: apt-get install $packages" >&2
    for package in $packages; do
        echo "  without $package these are left out: $(tests_of "$package")" >&2
    done
    if [ "${CI:-}" = true ]; then
        echo "CI=true: a missing server is a failure" >&2
        exit 1
    fi
fi
