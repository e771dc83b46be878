// What every page needs: the choice of the theme, menus, and announcements that can be closed.
import { installAnnouncements } from "../announcements.js";
import { installPopoverMenus } from "../popover-menus.js";
import { installThemes } from "../theme.js";

installThemes();
installPopoverMenus();
installAnnouncements();
