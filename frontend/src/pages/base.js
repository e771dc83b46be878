// What every page needs: the choice of the theme, menus, announcements that can be closed, and the links of accounts.
import { installAnnouncements } from "../announcements.js";
import { showCurrentLink } from "../page-navigation.js";
import { installPopoverMenus } from "../popover-menus.js";
import { installThemes } from "../theme.js";

installThemes();
installPopoverMenus();
installAnnouncements();
showCurrentLink();
